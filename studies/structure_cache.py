"""The structure keys of many members, each worked out once for all that share levels and setting."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.config import Config, Setting
from trainers.loop.structure import structure_key
from trainers.tasks.task import Task


def structures(task: Task) -> Callable[[Config], str]:
    """`trainers.loop.structure.structure_key` on this task, remembered.

    Numbers do not enter it, but for a network of the task's own, which may look at all of the config.
    """
    if task.network is not None:
        return lambda config: structure_key(config, task)
    known: dict[tuple[Setting, tuple[tuple[str, str], ...]], str] = {}

    def key(config: Config) -> str:
        what = (config.setting, tuple(config.levels.items()))
        if what not in known:
            known[what] = structure_key(config, task)
        return known[what]

    return key
