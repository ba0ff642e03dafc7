"""Event types to rows and media: one module a family of events, and the registry."""
