"""What happened inside a member while it trained: recorded beside its result, never part of it."""
