"""A task: data, split rule, loss and metric, and the network family that is trained on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.config import Config, digest
from search_spaces.factor import unknown
from trainers.checks import check
from trainers.randomness import stream
from trainers.reading import csv_arrays, dataset_arrays

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
class Task:
    """What is learned, from which items, judged how.

    Classification is trained on cross-entropy and judged by error rate; regression on squared error
    of standardized targets and judged by RMSE in units of the training targets' SD. Lower is better.
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
    """Transformations among `checks.AUGMENTATIONS` that leave y right: what `augmentation` may ask for."""
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

    def __post_init__(self) -> None:
        check(self)

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

    @cached_property
    def content_hash(self) -> str:
        """Of the data, how it is split, and a network of its own.

        A cluster checks it before it trains on its own copy.
        """
        if self.network is None:
            return self.data_hash
        return digest({"data": self.data_hash, "inputs": self.inputs, **self.network_hashes})

    @cached_property
    def network_hashes(self) -> Mapping[str, str]:
        """Of the source, the structure and a probe output of its own network; {} where it has none."""
        if self.network is None:
            return {}
        from trainers.networks.identity import identity  # builds the network, and needs torch

        return identity(self)

    @property
    def declared(self) -> frozenset[str] | None:
        """The settings that its own network is said to read; None where nobody says so."""
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
            rest = order.permutation(n - self.n_test)
        else:
            everything = order.permutation(n)
            cut = max(1, n // 4)
            test, rest = np.sort(everything[:cut]), everything[cut:]
        cut = max(1, len(rest) // 5)
        return Split(train=rest[cut:], validation=rest[:cut], test=test)

    @staticmethod
    def from_arrays(x: ArrayLike, y: ArrayLike, *, kind: Kind, name: str, **rest: Any) -> Task:
        """A task from arrays: x [items, ...] is copied and flattened to [items, features]; y is [items].

        x [items, steps, channels] is a task of sequences and x [items, height, width, channels] one of
        images: they keep their `shape`, which convolutional and recurrent networks need. So grey images
        have a last axis of 1, and so do sequences of single numbers. Another meaning is given in words,
        `shape=(8, 8, 1)` for flat rows or [items, 8, 8], and `shape=None` makes a table of anything;
        with five axes and more there is no shape.

        Class labels may be anything sortable; they become 0..C-1 in sorted order. `rest` are further
        fields of Task; the family is the name unless it is given. With a `network` that takes int64, x of
        whole numbers (16 bits and more: bytes are pixels) is given to it as token ids, unless `inputs` says
        otherwise.

        Raises:
            ValueError: non-finite or non-numeric x, lengths that differ, one class, too few items, or
                a field that Task does not have.
        """
        for key in rest:
            if key not in _SETTABLE:
                raise unknown("field of a task", key, _SETTABLE)
        where = f"task {name!r}"
        values = _numbers(x, f"{where}: x")
        whole = np.asarray(x).dtype in (np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64)
        if values.ndim in (3, 4) and values.size:
            rest.setdefault("shape", values.shape[1:])
        values = (
            values.reshape(len(values), -1) if values.ndim and values.size else np.empty((0, 0), np.float32)
        )
        labels = np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise ValueError(
                f"{where}: y must hold one value for each item, not an array of shape {labels.shape}"
            )
        targets = (
            _class_numbers(labels, where) if kind == "classification" else _numbers(labels, f"{where}: y")
        )
        rest.setdefault("family", name)
        for key in ("honours", "augmentations", "reads"):
            if isinstance(rest.get(key), (set, list, tuple)):
                rest[key] = frozenset(rest[key])
        if isinstance(rest.get("shape"), list):
            rest["shape"] = tuple(rest["shape"])
        task = Task(name=name, kind=kind, x=values, y=targets, **rest)
        if task.network is None or "inputs" in rest or not whole:
            return task
        from trainers.networks.identity import takes_tokens  # builds the network, and needs torch

        return takes_tokens(task)

    @staticmethod
    def from_csv(path: str | Path, *, target: str, kind: Kind, name: str | None = None, **rest: Any) -> Task:
        """A task from a comma-separated file with a header line; `target` names the column to predict.

        Every other column is a feature and must hold finite numbers. The name is the file's unless given.

        Raises:
            ValueError: what `trainers.reading.csv_arrays` or `from_arrays` refuses.
        """
        file = Path(path)
        name = file.stem if name is None else name
        try:
            x, y = csv_arrays(file, target=target, kind=kind)
        except ValueError as error:
            raise ValueError(f"task {name!r}: {error}") from error
        return Task.from_arrays(x, y, kind=kind, name=name, **rest)

    @staticmethod
    def from_dataset(dataset: Any, *, kind: Kind, name: str, **rest: Any) -> Task:
        """A task from any torch Dataset of (x, y) pairs, read once into memory.

        x may be a tensor, an array or a PIL image. A tensor of three axes is taken for an image as torch
        has it, [channels, height, width], and becomes channels last; two axes are [steps, channels].
        Otherwise shapes are read as in `from_arrays`.

        Raises:
            ValueError: what `trainers.reading.dataset_arrays` or `from_arrays` refuses.
        """
        try:
            x, y = dataset_arrays(dataset)
        except ValueError as error:
            raise ValueError(f"task {name!r}: {error}") from error
        return Task.from_arrays(x, y, kind=kind, name=name, **rest)


_SETTABLE = {f.name for f in fields(Task)} - {"name", "kind", "x", "y"}


def _numbers(values: ArrayLike, what: str) -> NDArray[np.float32]:
    """A float32 copy; ValueError unless `values` are real numbers, all of one shape."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "cmM":
            raise TypeError(f"{array.dtype} is not a real number")
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which the task refuses in words
            return np.array(array, dtype=np.float32, copy=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be real numbers ({error})") from error


def _class_numbers(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """0..C-1 in sorted order of the labels."""
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{where}: y has NaN or infinite labels")
    try:
        return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)
    except TypeError as error:
        raise ValueError(f"{where}: the labels in y must be of one kind, to be sorted ({error})") from error


TaskBuilder = Callable[[], Task]
TaskBook = Mapping[str, TaskBuilder]
"""Task name -> the function that makes it."""
