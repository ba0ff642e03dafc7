"""The use cases over ports: what each stage does, without any framework."""
