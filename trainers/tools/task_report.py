"""What to ask of a task before studies are spent on it; the shipped ones are held to the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainers.loop.feed import trivial_error
from trainers.tasks.task import Task, TaskBuilder
from trainers.tasks.task_fields import Split

RACED_FROM = 300
"""Test items from which a task can be raced; with fewer it serves development (method.md 2.2)."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a task holds, in numbers, once nothing is wrong with it."""

    task: Task
    train: int
    """Items of one block's training part; a study's train_size may take fewer."""
    validation: int
    test: int
    trivial_error: float
    """Validation error of predicting the most frequent class, or the mean (block 0)."""

    @property
    def raced(self) -> bool:
        """Whether its test part is large enough to be evidence."""
        return self.test >= RACED_FROM


def inspect(builder: TaskBuilder, *, study: str = "inspection", blocks: int = 4) -> Inspection:
    """Builds the task twice and walks the splits of `blocks` blocks.

    Raises:
        ValueError: the task itself is unsound, it differs between two builds (unseeded random
            numbers), or a block's training part lacks a class.
    """
    task, again = builder(), builder()
    where = f"task '{task.name}'"
    if (task.name, task.content_hash) != (again.name, again.content_hash):
        raise ValueError(
            f"{where}: two builds differ; draw from numpy.random.default_rng(a fixed seed), so that every "
            "worker trains on the same items"
        )
    splits = [task.split(study, block) for block in range(blocks)]
    for block, split in enumerate(splits):
        _check_split(task, split, f"{where}, block {block}")
    first = splits[0]
    return Inspection(
        task=task,
        train=len(first.train),
        validation=len(first.validation),
        test=len(first.test),
        trivial_error=trivial_error(task, study, 0),
    )


def _check_split(task: Task, split: Split, where: str) -> None:
    parts = (split.train, split.validation, split.test)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(task.y))), where
    if task.kind == "regression":
        if float(np.std(task.y[split.train])) == 0:
            raise ValueError(f"{where}: y is constant in the training part")
        return
    missing = sorted(set(range(task.n_outputs)) - set(task.y[split.train].tolist()))
    if missing:
        raise ValueError(
            f"{where}: the training part has no item of class number {missing[0]}; add items of it"
        )
