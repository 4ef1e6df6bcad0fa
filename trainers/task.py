"""A task: data, split rule, loss and metric, and the network family that is trained on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.config import Config, digest
from search_spaces.factor import unknown
from trainers.arrays import inputs, numbers, targets
from trainers.checks import check
from trainers.labels import class_numbers
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
    notes: tuple[str, ...] = ()
    """What to know of the data, for `plan` to say: a column that was centred, or that counts rows."""

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
    def from_arrays(
        x: ArrayLike,
        y: ArrayLike,
        *,
        kind: Kind,
        name: str,
        classes: Iterable[Any] | None = None,
        **rest: Any,
    ) -> Task:
        """A task from arrays: x [items, ...] is copied and flattened to [items, features]; y is [items].

        x [items, steps, channels] is a task of sequences and x [items, height, width, channels] one of
        images: they keep their `shape`, which convolutional and recurrent networks need. So grey images
        have a last axis of 1, and so do sequences of single numbers. Another meaning is given in words,
        `shape=(8, 8, 1)` for flat rows or [items, 8, 8], and `shape=None` makes a table of anything;
        with five axes and more there is no shape.

        Class labels may be anything sortable; they become 0..C-1 in sorted order. A label that stands for a
        missing one ("", "nan", "NA", "null", "None", "?" and the like, None, NaN) is refused unless `classes`
        names it: all labels that there may be. Columns and targets that float32 would not keep apart are
        centred first (`trainers.single_precision`). `rest` are further fields of Task; the family is the name
        unless it is given. With a `network` that takes int64, x of whole numbers (16 bits and more: bytes are
        pixels) is given to it as token ids, unless `inputs` says otherwise.

        Raises:
            ValueError: non-finite or non-numeric x, lengths that differ, a missing label, one class, too few
                items, or a field that Task does not have.
        """
        return _task(x, y, kind=kind, name=name, classes=classes, rest=rest)

    @staticmethod
    def from_csv(
        path: str | Path,
        *,
        target: str,
        kind: Kind,
        name: str | None = None,
        classes: Iterable[Any] | None = None,
        **rest: Any,
    ) -> Task:
        """A task from a comma-separated file with a header line; `target` names the column to predict.

        Every other column is a feature and must hold finite numbers. The name is the file's unless given.
        Classes that are called like a missing value are named in `classes`, as in `from_arrays`.

        Raises:
            ValueError: what `trainers.reading.csv_arrays` or `from_arrays` refuses.
        """
        file = Path(path)
        name = file.stem if name is None else name
        classes = None if classes is None else list(classes)
        try:
            table = csv_arrays(file, target=target, kind=kind, classes=classes)
        except ValueError as error:
            raise ValueError(f"task {name!r}: {error}") from error
        return _task(
            table.x,
            table.y,
            kind=kind,
            name=name,
            classes=classes,
            rest=rest,
            columns=table.columns,
            notes=table.notes,
        )

    @staticmethod
    def from_dataset(
        dataset: Any, *, kind: Kind, name: str, classes: Iterable[Any] | None = None, **rest: Any
    ) -> Task:
        """A task from any torch Dataset of (x, y) pairs, read once into memory.

        x may be a tensor, an array or a PIL image. A tensor of three axes is taken for an image as torch
        has it, [channels, height, width], and becomes channels last; two axes are [steps, channels].
        Otherwise shapes and labels are read as in `from_arrays`. Some items are read twice: a dataset with a
        random transform is refused.

        Raises:
            ValueError: what `trainers.reading.dataset_arrays` or `from_arrays` refuses.
        """
        try:
            x, y = dataset_arrays(dataset)
        except ValueError as error:
            raise ValueError(f"task {name!r}: {error}") from error
        return _task(x, y, kind=kind, name=name, classes=classes, rest=rest)


def _task(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kind: Kind,
    name: str,
    classes: Iterable[Any] | None,
    rest: dict[str, Any],
    columns: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Task:
    """The task of arrays, and of the names and notes that came with them."""
    for key in rest:
        if key not in _SETTABLE:
            raise unknown("field of a task", key, _SETTABLE)
    where = f"task {name!r}"
    if classes is not None and kind != "classification":
        raise ValueError(f"{where}: classes are named, but kind is {kind!r}")
    given = numbers(x, f"{where}: x")
    if given.ndim in (3, 4) and given.size:
        rest.setdefault("shape", given.shape[1:])
    for key in ("honours", "augmentations", "reads"):
        if isinstance(rest.get(key), (set, list, tuple)):
            rest[key] = frozenset(rest[key])
    if isinstance(rest.get("shape"), list):
        rest["shape"] = tuple(rest["shape"])
    shape = rest.get("shape")
    image = shape if isinstance(shape, tuple) else None
    values, of_x = inputs(given, where=where, shape=image, columns=columns)
    answers: NDArray[Any]
    of_y: tuple[str, ...]
    if kind == "classification":
        answers, of_y = class_numbers(y, classes=classes, where=where), ()
    else:
        answers, of_y = targets(y, where=where)
    rest.setdefault("family", name)
    task = Task(name=name, kind=kind, x=values, y=answers, notes=(*notes, *of_x, *of_y), **rest)
    if task.network is None or "inputs" in rest or np.asarray(x).dtype not in TOKEN_TYPES:
        return task
    from trainers.networks.identity import takes_tokens  # builds the network, and needs torch

    return takes_tokens(task)


TOKEN_TYPES = (np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64)
"""What whole numbers may come as to be token ids; bytes are pixels."""

_SETTABLE = {f.name for f in fields(Task)} - {"name", "kind", "x", "y", "notes"}


TaskBuilder = Callable[[], Task]
TaskBook = Mapping[str, TaskBuilder]
"""Task name -> the function that makes it."""
