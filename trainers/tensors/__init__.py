"""How the tensors of many members lie in memory."""
