"""Tasks that are objects of the driver's process, as its workers on the same machine get them.

They lie in the private folder of the run, which only its user can read and which goes with it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reports.io.safe_paths import create

if TYPE_CHECKING:
    from trainers.tasks.task import Task, TaskBuilder

SUFFIX = ".pickled-tasks"
"""By which a worker knows such a file from a Python file of the user's."""


def write_tasks(
    builders: Mapping[str, TaskBuilder], folder: Path, *, dumps: Callable[[object], bytes]
) -> str:
    """Writes the tasks into the run's folder and returns the file's name.

    Args:
        builders: task name -> a function that returns the task.
        folder: of the run.
        dumps: pickles by value what stands in a notebook or script: Ray's own.

    Raises:
        ValueError: a task, or what its network holds, cannot be sent to another process.
    """
    tasks: dict[str, Task] = {}
    for name, builder in builders.items():
        task = tasks[name] = builder()
        assert task.content_hash  # kept in it: a worker cannot read the source of a notebook
    try:
        content = dumps(tasks)
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
