"""Small members and tasks that the trainer's tests share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from search_spaces.config import Setting
from search_spaces.space import complete
from trainers.evaluation import Evaluation, Phase, Slot
from trainers.member import Member
from trainers.tasks.task import Task

TINY = Setting(depth=2, width=8, batch_size=8, steps=20, train_size=64, evaluations=4, precision="float64")


def blobs(kind: str = "classification", items: int = 160, name: str = "blobs") -> Task:
    """Three overlapping clouds in five dimensions, or the distance to their centre."""
    draws = np.random.default_rng(7)
    labels = np.arange(items) % 3
    x = draws.normal(size=(items, 5)) + labels[:, None]
    if kind == "regression":
        return Task.from_arrays(x, np.sqrt((x**2).sum(1)), kind="regression", name=name)
    return Task.from_arrays(x, labels, kind="classification", name=name)


def pictures(items: int = 160) -> Task:
    """Images of 7 x 6 places and 2 channels with a bright disc, a ring around it, or noise alone."""
    draws = np.random.default_rng(7)
    labels = np.arange(items) % 3
    down, right = np.mgrid[:7, :6]
    radius = np.hypot(down - 3, right - 2.5)
    signs = np.stack([radius < 1.6, (radius > 1.6) & (radius < 2.7), np.zeros((7, 6), dtype=bool)])
    x = draws.normal(size=(items, 7, 6, 2)) + 2 * signs[labels][..., None]
    return Task.from_arrays(
        x, labels, kind="classification", name="blobs", augmentations={"shift", "flip", "rotation"}
    )


def suited(factor: str) -> Task:
    """A task on which every level of the factor can be asked."""
    return pictures() if factor == "augmentation" else blobs()


def member(
    *,
    levels: Mapping[str, str] | None = None,
    numbers: Mapping[str, float] | None = None,
    setting: Setting = TINY,
    index: int = 0,
    block: int = 0,
    phase: Phase = "retune",
    task: str = "blobs",
) -> Member:
    """A member of a made-up study; its level is named after its configuration."""
    config = complete(levels or {}, numbers or {}, setting=setting)
    slot = Slot(
        study="test",
        factor="initializer",
        task=task,
        regime="tiny",
        block=block,
        level=config.id,
        phase=phase,
        index=index,
    )
    return Member(slot=slot, config=config, seed_index=index)


def numbers_of(evaluation: Evaluation) -> dict[str, Any]:
    """Everything measured, without where it was measured."""
    data = evaluation.plain()
    return {key: value for key, value in data.items() if key not in ("slot", "versions")}
