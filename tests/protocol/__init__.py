"""The ledger's protocol as a model: what must be true, and everybody who makes use of it."""
