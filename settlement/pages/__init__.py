"""Pages that need what was settled, one module a subject."""
