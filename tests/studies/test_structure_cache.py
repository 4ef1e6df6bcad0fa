"""Structure keys that are remembered are those that are worked out."""

from __future__ import annotations

from dataclasses import replace

import torch

from search_spaces.config import Config, Setting
from search_spaces.space import complete
from studies.structure_cache import structures
from tests.studies.planted import stripes
from trainers.loop.structure import structure_key
from trainers.tasks.task import Task


def test_every_config_gets_its_own_key_whatever_was_asked_before() -> None:
    task = stripes("stripes")
    remembered = structures(task)
    configs = [
        complete(
            {"optimizer": optimizer, "normalization": norm}, {"learning_rate": rate}, Setting(depth=depth)
        )
        for optimizer in ("nesterov", "adamw")
        for norm in ("none", "batch_norm")
        for depth in (1, 2)
        for rate in (0.01, 0.02)
    ]
    assert [remembered(c) for c in configs] == [structure_key(c, task) for c in configs]
    assert [remembered(c) for c in configs[::-1]] == [structure_key(c, task) for c in configs[::-1]]


def test_a_network_of_the_tasks_own_may_look_at_numbers() -> None:
    def built(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
        wide = 4 if config.numbers["learning_rate"] < 0.1 else 8
        return torch.nn.Sequential(torch.nn.Linear(inputs, wide), torch.nn.Linear(wide, outputs))

    task: Task = replace(stripes("stripes"), network=built, honours=frozenset())
    key = structures(task)
    small, large = (complete({}, {"learning_rate": rate}) for rate in (0.01, 0.5))
    assert key(small) == structure_key(small, task)
    assert key(small) != key(large) == structure_key(large, task)
