"""Where users' files find `Task`; our own code imports `trainers.tasks.task`."""

from trainers.tasks.task import Task, TaskBook, TaskBuilder

__all__ = ["Task", "TaskBook", "TaskBuilder"]
