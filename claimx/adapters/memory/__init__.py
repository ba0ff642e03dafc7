"""In-memory implementations of the ports: small and real, for tests and rehearsals."""
