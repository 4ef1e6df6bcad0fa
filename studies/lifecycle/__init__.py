"""What becomes of a study once it has run: it is archived, restored, compacted or deleted."""
