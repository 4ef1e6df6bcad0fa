"""Where users' files find `fetched`; our own code imports `trainers.tasks.download`."""

from trainers.tasks.download import fetched

__all__ = ["fetched"]
