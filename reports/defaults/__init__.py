"""Recommended defaults: the file, its schema, and how two of them differ."""
