"""What the commands do before and after a run, and the words they share."""
