"""Tasks that are objects of the driver's process, as its workers on the same machine get them.

They lie in the private folder of the run, which only its user can read and which goes with it. cloudpickle
also takes functions and networks of a notebook or script.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cloudpickle

from reports.io.safe_paths import create
from trainers.tasks.task import Task, TaskBuilder

SUFFIX = ".pickled-tasks"
"""By which a worker knows such a file from a Python file of the user's."""


def write_tasks(builders: Mapping[str, TaskBuilder], folder: Path) -> str:
    """Writes the tasks into the run's folder and returns the file's name.

    Raises:
        ValueError: a task, or what its network holds, cannot be sent to another process.
    """
    tasks: dict[str, Task] = {}
    for name, builder in builders.items():
        tasks[name] = builder()
        # Computed here, and carried in the object: a worker cannot look where a notebook's source is.
        assert tasks[name].content_hash
    try:
        content = cloudpickle.dumps(tasks)
    except Exception as error:
        raise ValueError(
            f"tasks {', '.join(tasks)} cannot be sent to worker processes ({type(error).__name__}: {error}); "
            "say engine='inline', or write them into a file of tasks"
        ) from error
    file = folder / f"{len(list(folder.glob(f'*{SUFFIX}')))}{SUFFIX}"
    create(file, content)
    return str(file)


def read_tasks(file: Path) -> dict[str, TaskBuilder]:
    """The tasks of such a file by name; only the driver of this run can have written it."""
    tasks: dict[str, Task] = pickle.loads(file.read_bytes())
    return {name: partial(_same, task) for name, task in tasks.items()}


def _same(task: Task) -> Task:
    return task
