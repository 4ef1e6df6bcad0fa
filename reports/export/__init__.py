"""A defaults file in other people's formats: written, never read back."""
