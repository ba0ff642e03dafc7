"""The pure part: what is worked on and decided, without clock, environment, I/O or framework."""
