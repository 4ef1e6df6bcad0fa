"""The fields of a task and what follows from them alone: its data, how they are split, its own network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces.config import Config
from trainers.randomness import stream

if TYPE_CHECKING:
    import torch

Kind = Literal["classification", "regression"]
Inputs = Literal["numbers", "tokens"]

NetworkFactory = Callable[[int, int, Config], "torch.nn.Module"]
"""A user's own network: (inputs, outputs, config) -> module mapping [batch, inputs] to [batch, outputs]."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Item numbers of one block: int64 arrays, disjoint."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskFields:
    """The fields of a task, not checked: `trainers.tasks.task.Task` checks them when it is built.

    The checks of a task, its scaling and the contract of its own network take these fields, and import no
    `Task`, which calls them.
    """

    name: str
    """At most 64 letters, digits, points, dashes and underscores."""
    family: str
    """The statistical unit: variants of one generator share a family."""
    kind: Kind
    x: NDArray[np.float32]
    """[items, features], finite."""
    y: NDArray[Any]
    """[items]: int64 class numbers 0..C-1, or float32 targets."""
    shape: tuple[int, ...] | None = None
    """An item's shape, channels last: (height, width, channels) of an image, (steps, channels) of a
    sequence; None for a table. Rows of x are such items, flattened row-major."""
    augmentations: frozenset[str] = field(default_factory=frozenset)
    """Transformations among `checks.AUGMENTATIONS` that leave y right: what `augmentation` may apply."""
    n_test: int | None = None
    """The last `n_test` items are the one fixed test set (generated data); None: every block draws
    its own test part."""
    real: bool = False
    """Published by others, as they measured or (magic) simulated it; not drawn by a rule of ours."""
    licence: str = ""
    source: str = ""
    version: str = "1"
    bayes_error: float | None = None
    """The least reachable error in the metric's unit, where it is known."""
    network: NetworkFactory | None = None
    """None: the multilayer perceptron that the config describes."""
    honours: frozenset[str] = field(default_factory=frozenset)
    """Factors among `checks.HONOURED` that `network` itself builds from the config."""
    reads: frozenset[str] | None = None
    """Settings among `checks.READABLE` that `network` reads from the config; None: not declared, and found
    out by building it. A factory may say so itself, by an attribute of this name."""
    inputs: Inputs = "numbers"
    """What `network` is given: numbers, scaled by the factor input_scaling, or tokens, whole numbers that
    stand for something (int64, never scaled)."""
    notes: tuple[str, ...] = ()
    """What to know of the data, for `plan` to say: a column that was centred, or that counts rows."""

    @property
    def n_inputs(self) -> int:
        return int(self.x.shape[1])

    @property
    def is_image(self) -> bool:
        """Whether items have height, width and channels."""
        return self.shape is not None and len(self.shape) == 3

    @property
    def n_classes(self) -> int | None:
        """C, or None for regression."""
        return int(self.y.max()) + 1 if self.kind == "classification" else None

    @property
    def n_outputs(self) -> int:
        return self.n_classes or 1

    @property
    def metric(self) -> str:
        return "error_rate" if self.kind == "classification" else "rmse_in_sd"

    @property
    def declared(self) -> frozenset[str] | None:
        """The settings that its own network is declared to read; None: not declared."""
        own = getattr(self.network, "reads", None)
        return self.reads if self.reads is not None or own is None else frozenset(own)

    @cached_property
    def data_hash(self) -> str:
        """Of the data and how it is split: a shape and augmentations are part of it, where there are any."""
        text = f"{self.kind}|{self.n_test}|{self.x.shape}|{self.x.dtype}|{self.y.dtype}|{self.version}"
        if self.shape is not None:
            text += f"|{self.shape}|{sorted(self.augmentations)}"
        parts = hashlib.blake2b(text.encode(), digest_size=10)
        parts.update(np.ascontiguousarray(self.x).data)
        parts.update(np.ascontiguousarray(self.y).data)
        return parts.hexdigest()

    def split(self, study: str, block: int) -> Split:
        """The block's items: 20 % validation of what is not test, test 25 % unless it is fixed.

        A pure function of (study, task, block): every level and every phase sees the same split.
        """
        order = stream(study, self.name, block, "split")
        n = len(self.y)
        if self.n_test is not None:
            test = np.arange(n - self.n_test, n)
            others = order.permutation(n - self.n_test)
        else:
            everything = order.permutation(n)
            cut = max(1, n // 4)
            test, others = np.sort(everything[:cut]), everything[cut:]
        cut = max(1, len(others) // 5)
        return Split(train=others[cut:], validation=others[:cut], test=test)
