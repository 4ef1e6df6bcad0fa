"""What callers may give: studies and tasks as names, paths, plain data or objects."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.commands.path_arguments import DEFAULT_WORKSPACE, WORKSPACE_VARIABLE
from studies.kinds import AnySpec
from studies.load_study import load, parse
from studies.search.spec import SearchSpec
from studies.spec.load import with_profile
from studies.spec.reserved_names import refuse_reserved
from studies.spec.resolved import ResolvedStudy
from trainers.tasks.task import Task as Task  # also under this package's name
from trainers.tasks.user_tasks import load_user_tasks

if TYPE_CHECKING:
    from studies.spec.sections import Profile
    from trainers.tasks.task import TaskBuilder
    from trainers.tasks.user_tasks import TaskSource

StudyLike = str | Path | Mapping[str, Any] | ResolvedStudy | SearchSpec
"""The name of a study that ships, the path of a study file, its content as a dict, or a parsed study."""
TaskLike = str | Path | Task | Callable[[], Task]
"""A task's name, a Python file with a list TASKS (a Path, or a text that ends in .py), a task, or a function
without arguments that returns one."""


def as_workspace(workspace: str | Path | None) -> Path:
    """The folder; None: that of GROUNDRULES_WORKSPACE, else `groundrules-workspace` in the current one."""
    if workspace is None:
        return Path(os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE)
    return Path(workspace)


def as_study(study: StudyLike) -> AnySpec:
    """The parsed study; ValueError naming file, key and rule where something in it is wrong."""
    if isinstance(study, (ResolvedStudy, SearchSpec)):
        return study
    if isinstance(study, Mapping):
        spec = parse(study)
        refuse_reserved(spec.file, spec.study)
        return spec
    return load(study)


def at_budget(spec: AnySpec, profile: Profile | None) -> AnySpec:
    """The study at another profile; ValueError for an unknown one, and for a search study."""
    if profile is None:
        return spec
    if isinstance(spec, SearchSpec):
        from studies.operations.planning import no_profile

        no_profile(spec, profile, None)
        return spec
    return with_profile(spec, profile)


def with_tasks(study: StudyLike, tasks: Any, tasks_from: Any = None) -> tuple[AnySpec, TaskSource | None]:
    """A study, and the source of those of its tasks that do not ship.

    Args:
        study: as the caller gave it.
        tasks: those of the study, in place of its own list; None: its own list.
        tasks_from: tasks that its list may name besides those that ship; a text is the path of a file.

    Raises:
        ValueError: the study is wrong, or a task cannot be built.
    """
    spec = as_study(study)
    chosen = _listed(tasks)
    own = [Path(task) if isinstance(task, str) else task for task in chosen if not _is_name(task)]
    if chosen:
        names = [name for task in chosen for name in ([task] if _is_name(task) else _builders(task))]
        stated = spec if isinstance(spec, SearchSpec) else spec.spec
        data = {**stated.model_dump(exclude_unset=True), "kind": spec.kind, "tasks": names}
        spec = parse(data, file=spec.file)
    return spec, task_source([*own, *_listed(tasks_from)])


def task_source(tasks_from: Any) -> TaskSource | None:
    """One file, for workers to read for themselves, or the functions of all tasks by name; None for None."""
    given = [Path(task) if isinstance(task, str) else task for task in _listed(tasks_from)]
    if len(given) == 1 and isinstance(given[0], Path):
        return given[0]
    builders: dict[str, TaskBuilder] = {}
    for part in map(_builders, given):
        if twice := part.keys() & builders.keys():
            raise ValueError(f"two tasks are named '{min(twice)}'")
        builders |= part
    return builders or None


def _is_name(task: Any) -> bool:
    return isinstance(task, str) and not task.endswith(".py")


def _listed(tasks: Any) -> list[Any]:
    if tasks is None:
        return []
    return [tasks] if isinstance(tasks, (str, Path, Task)) or callable(tasks) else list(tasks)


def _builders(given: Any) -> dict[str, TaskBuilder]:
    """Task name -> a function that returns the task, of one file, task or function."""
    if isinstance(given, (str, Path)):
        return load_user_tasks(given)
    task = given() if callable(given) and not isinstance(given, Task) else given
    if not isinstance(task, Task):
        raise ValueError(f"a task is {type(task).__name__}; it must be, or return, a groundrules.Task")
    return {task.name: functools.partial(_same, task)}


def _same(task: Task) -> Task:
    return task
