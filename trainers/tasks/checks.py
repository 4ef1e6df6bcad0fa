"""What must hold of every task, shipped or a user's own."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.tasks.task_fields import TaskFields

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Names of tasks and families: they become file names, tags and columns."""
MIN_ITEMS = 40
"""Items that a task needs to be split three ways."""
MIN_OF_CLASS = 8
"""Items of every class that must not be in a fixed test set: splits are not stratified, and a training
part of 60 % that misses a class of 8 is drawn about once in 1500 times (0.4 ** 8)."""
HONOURED = frozenset({"activation", "normalization", "dropout"})
"""Factors that a network of one's own may build from the config."""
READABLE = frozenset({"depth", "width", "funnel", "residual"})
"""Settings that say something of a network alone."""
LARGEST_TOKEN = 1 << 24
"""From which on float32, in which items are kept, leaves whole numbers out."""
ONLY_OURS = frozenset({"input_scaling=batch_norm", "weight_constraint=symmetric"})
"""Levels that change a network from within: a network of one's own is never given them."""

AUGMENTATIONS = frozenset({"shift", "flip", "rotation"})
"""What can be done to an item's places; a sequence can only be shifted."""


def check(task: TaskFields) -> None:
    """ValueError unless the data can be learned from and judged.

    `Task` calls it when it is built, so that a task which exists is sound.
    """
    unchecked: Any = task  # what users pass is what they pass, whatever the annotations say
    for what, name in (("name", unchecked.name), ("family", unchecked.family)):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"task {unchecked.name!r}: its {what} {name!r} must match {NAME.pattern}")
    where = f"task '{task.name}'"
    if unchecked.kind not in ("classification", "regression"):
        raise ValueError(f"{where}: kind must be classification or regression, not {task.kind!r}")
    _check_arrays(task, where)
    drawn = task.y[: len(task.y) - _fixed_test(unchecked.n_test, len(task.y), where)]
    if task.kind == "classification":
        _check_classes(task.y, drawn, where)
    elif not np.any(drawn != drawn[:1]):
        raise ValueError(f"{where}: y is constant" + (" outside the test set" if task.n_test else ""))
    _check_shape(task, where)
    bayes = unchecked.bayes_error
    if bayes is not None and not (isinstance(bayes, (int, float)) and 0 <= bayes < 1):
        raise ValueError(f"{where}: bayes_error = {bayes!r} must be in [0, 1), or None where it is not known")
    if unchecked.network is not None and not callable(unchecked.network):
        raise ValueError(f"{where}: network must be a function (inputs, outputs, config) -> torch module")
    if not isinstance(unchecked.honours, frozenset) or not unchecked.honours <= HONOURED:
        raise ValueError(f"{where}: honours must be a frozenset of names among {', '.join(sorted(HONOURED))}")
    if task.honours and task.network is None:
        raise ValueError(f"{where}: honours describes a network of one's own, but network is None")
    _check_reading(task, where)


def _check_reading(task: TaskFields, where: str) -> None:
    """What a network of one's own reads of the config, and what it is given."""
    unchecked: Any = task
    for key, reads in (
        ("reads", unchecked.reads),
        ("its network's reads", getattr(unchecked.network, "reads", None)),
    ):
        if reads is not None and not (
            isinstance(reads, (set, frozenset, list, tuple)) and set(reads) <= READABLE
        ):
            raise ValueError(
                f"{where}: {key} must hold names among {', '.join(sorted(READABLE))}, not {reads!r}"
            )
    if unchecked.reads is not None and unchecked.network is None:
        raise ValueError(f"{where}: reads describes a network of one's own, but network is None")
    if unchecked.inputs not in ("numbers", "tokens"):
        raise ValueError(f"{where}: inputs = {unchecked.inputs!r} must be numbers or tokens")
    if unchecked.inputs == "numbers":
        return
    if unchecked.network is None:
        raise ValueError(f"{where}: inputs = tokens needs a network of one's own that looks them up")
    wrong = (task.x < 0) | (task.x != np.floor(task.x)) | (task.x >= LARGEST_TOKEN)
    if wrong.any():
        raise ValueError(
            f"{where}: inputs = tokens, but x holds {task.x[wrong][0]:g}: ids are whole numbers from 0 to "
            f"{LARGEST_TOKEN - 1}; inputs='numbers' has x scaled instead"
        )


def _fixed_test(n_test: Any, items: int, where: str) -> int:
    """How many of the items are the fixed test set."""
    if n_test is None:
        return 0
    if isinstance(n_test, bool) or not isinstance(n_test, int) or n_test < 1:
        raise ValueError(f"{where}: n_test = {n_test!r} must be a whole number, at least 1, or None")
    if items - n_test < MIN_ITEMS // 2:
        raise ValueError(f"{where}: n_test = {n_test} must leave at least {MIN_ITEMS // 2} of {items} items")
    return n_test


def _check_arrays(task: TaskFields, where: str) -> None:
    if task.x.ndim != 2 or (task.x.shape[1] < 1 and len(task.x)):
        raise ValueError(f"{where}: x must be [items, features], not {task.x.shape}")
    if task.y.ndim != 1 or len(task.x) != len(task.y):
        raise ValueError(f"{where}: {len(task.x)} rows of x but y of shape {task.y.shape}; one value each")
    if len(task.y) < MIN_ITEMS:
        raise ValueError(
            f"{where}: {len(task.y)} items; at least {MIN_ITEMS} are needed to split them three ways"
        )
    y_type = np.int64 if task.kind == "classification" else np.float32
    if task.x.dtype != np.float32 or task.y.dtype != y_type:
        raise ValueError(
            f"{where}: x must be float32 and y {np.dtype(y_type)}, not {task.x.dtype} and {task.y.dtype}; "
            "Task.from_arrays converts them"
        )
    for what, values in (("x", task.x), ("y", task.y)):
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if len(bad):
            raise ValueError(f"{where}: {what} has NaN or infinite values in float32, first in item {bad[0]}")
    if not (task.x != task.x[:1]).any():
        raise ValueError(f"{where}: x has no feature that differs between items")


def _check_shape(task: TaskFields, where: str) -> None:
    """An item's shape holds its features, and what may be done to its places is known."""
    shape: Any = task.shape
    if shape is not None:
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 1 for n in shape)
        if not whole or len(shape) not in (2, 3) or math.prod(shape) != task.n_inputs:
            raise ValueError(
                f"{where}: shape = {shape!r} must be (height, width, channels) or (steps, channels), whole "
                f"numbers whose product is its {task.n_inputs} features, or None for a table"
            )
    declared: Any = task.augmentations
    possible = AUGMENTATIONS if task.is_image else AUGMENTATIONS & {"shift"}
    if not isinstance(declared, frozenset) or not declared <= AUGMENTATIONS:
        raise ValueError(
            f"{where}: augmentations must be a frozenset of names among {', '.join(sorted(AUGMENTATIONS))}"
        )
    if declared and (shape is None or not declared <= possible):
        raise ValueError(
            f"{where}: augmentations = {', '.join(sorted(declared))} with shape = {shape!r}: images can be "
            f"moved by {', '.join(sorted(AUGMENTATIONS))}, sequences by shift, tables by none"
        )


def _check_classes(y: NDArray[np.int64], drawn: NDArray[np.int64], where: str) -> None:
    """Classes are 0..C-1, two or more, each with enough items in `drawn`, those outside a fixed test set."""
    if y.min() != 0 or len(np.unique(y)) != y.max() + 1:
        raise ValueError(
            f"{where}: y must be class numbers 0..C-1, each present; Task.from_arrays makes them"
        )
    if y.max() == 0:
        raise ValueError(f"{where}: y has one class only")
    counts = np.bincount(drawn, minlength=int(y.max()) + 1)
    if counts.min() < MIN_OF_CLASS:
        few = f"{counts.min()} item{'' if counts.min() == 1 else 's'}"
        hint = "; is this regression?" if len(counts) > len(y) / MIN_OF_CLASS else ""
        raise ValueError(
            f"{where}: class number {counts.argmin()} has {few} to train and validate on; "
            f"every class needs at least {MIN_OF_CLASS}, merge or drop rare ones{hint}"
        )
