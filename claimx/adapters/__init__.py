"""One module an outside system: the only I/O."""
