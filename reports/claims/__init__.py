"""What texts claim, and what the evidence says of it."""
