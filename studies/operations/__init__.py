"""What the commands and the Python interface do: one function for each, without words typed or printed."""
