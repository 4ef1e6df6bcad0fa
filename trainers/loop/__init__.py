"""The training loop: many members in one pack."""
