"""The pure part: what the pipeline works on and decides, without clock, environment, I/O or framework."""
