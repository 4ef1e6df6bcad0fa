"""A task: data, split rule, loss and metric, and the network family that is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.config import digest
from search_spaces.factor import unknown
from trainers.tasks.arrays import inputs, numbers, targets
from trainers.tasks.checks import check
from trainers.tasks.labels import class_numbers
from trainers.tasks.readers import csv_arrays, dataset_arrays
from trainers.tasks.task_fields import Kind, TaskFields


@dataclass(frozen=True, kw_only=True, eq=False)
class Task(TaskFields):
    """What is learned, from which items, judged how.

    Classification is trained on cross-entropy and judged by error rate; regression on squared error
    of standardized targets and judged by RMSE in units of the training targets' SD. Lower is better.

    Raises:
        ValueError: what `trainers.tasks.checks.check` refuses.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> task = Task.from_arrays(x, x[:, 0] > x[:, 1], kind="classification", name="sides")
        >>> task.n_inputs, task.n_classes, task.metric
        (2, 2, 'error_rate')
        >>> len(task.split("my-study", block=0).train)
        36
    """

    def __post_init__(self) -> None:
        check(self)

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
        from trainers.tasks.network_identity import identity  # builds the network, and needs torch

        return identity(self)

    @staticmethod
    def from_arrays(
        x: ArrayLike,
        y: ArrayLike,
        *,
        kind: Kind,
        name: str,
        classes: Iterable[Any] | None = None,
        **further: Any,
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
        centred first (`trainers.tasks.single_precision`). `further` are other fields of Task; the family is
        the name unless it is given. With a `network` that takes int64, x of whole numbers (16 bits and more:
        bytes are pixels) is given to it as token ids, unless `inputs` says otherwise.

        Raises:
            ValueError: non-finite or non-numeric x, lengths that differ, a missing label, one class, too few
                items, or a field that Task does not have.

        Examples:
            >>> images = np.random.default_rng(0).normal(size=(60, 8, 8, 1))
            >>> labels = ["cat", "dog"] * 30
            >>> task = Task.from_arrays(images, labels, kind="classification", name="pets")
            >>> task.shape, task.x.shape, task.y[:4].tolist()
            ((8, 8, 1), (60, 64), [0, 1, 0, 1])
        """
        return _task(x, y, kind=kind, name=name, classes=classes, further=further)

    @staticmethod
    def from_csv(
        path: str | Path,
        *,
        target: str,
        kind: Kind,
        name: str | None = None,
        classes: Iterable[Any] | None = None,
        **further: Any,
    ) -> Task:
        """A task from a comma-separated file with a header line; `target` names the column to predict.

        Every other column is a feature and must hold finite numbers. The name is the file's unless given.
        Classes that are called like a missing value are named in `classes`, as in `from_arrays`.

        Raises:
            ValueError: what `trainers.tasks.readers.csv_arrays` or `from_arrays` refuses.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> rows = [f"{day * day % 31},{day % 2}" for day in range(60)]
            >>> with TemporaryDirectory() as folder:
            ...     file = Path(folder) / "churn.csv"
            ...     _ = file.write_text(chr(10).join(["calls,left", *rows]))
            ...     task = Task.from_csv(file, target="left", kind="classification")
            >>> task.name, task.x.shape
            ('churn', (60, 1))
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
            further=further,
            columns=table.columns,
            notes=table.notes,
        )

    @staticmethod
    def from_dataset(
        dataset: Any, *, kind: Kind, name: str, classes: Iterable[Any] | None = None, **further: Any
    ) -> Task:
        """A task from any torch Dataset of (x, y) pairs, read once into memory.

        x may be a tensor, an array or a PIL image. A tensor of three axes is taken for an image as torch
        has it, [channels, height, width], and becomes channels last; two axes are [steps, channels].
        Otherwise shapes and labels are read as in `from_arrays`. Some items are read twice: a dataset with a
        random transform is refused.

        Raises:
            ValueError: what `trainers.tasks.readers.dataset_arrays` or `from_arrays` refuses.

        Examples:
            >>> import torch
            >>> pairs = torch.utils.data.TensorDataset(torch.eye(60), torch.arange(60) % 2)
            >>> Task.from_dataset(pairs, kind="classification", name="pairs").n_inputs
            60
        """
        try:
            x, y = dataset_arrays(dataset)
        except ValueError as error:
            raise ValueError(f"task {name!r}: {error}") from error
        return _task(x, y, kind=kind, name=name, classes=classes, further=further)


def _task(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kind: Kind,
    name: str,
    classes: Iterable[Any] | None,
    further: dict[str, Any],
    columns: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Task:
    """The task of arrays, and of the names and notes that came with them."""
    for key in further:
        if key not in _SETTABLE:
            raise unknown("field of a task", key, _SETTABLE)
    where = f"task {name!r}"
    if classes is not None and kind != "classification":
        raise ValueError(f"{where}: classes are named, but kind is {kind!r}")
    raw = numbers(x, f"{where}: x")
    if raw.ndim in (3, 4) and raw.size:
        further.setdefault("shape", raw.shape[1:])
    for key in ("honours", "augmentations", "reads"):
        if isinstance(further.get(key), (set, list, tuple)):
            further[key] = frozenset(further[key])
    if isinstance(further.get("shape"), list):
        further["shape"] = tuple(further["shape"])
    shape = further.get("shape")
    image = shape if isinstance(shape, tuple) else None
    values, of_x = inputs(raw, where=where, shape=image, columns=columns)
    answers: NDArray[Any]
    of_y: tuple[str, ...]
    if kind == "classification":
        answers, of_y = class_numbers(y, classes=classes, where=where), ()
    else:
        answers, of_y = targets(y, where=where)
    further.setdefault("family", name)
    task = Task(name=name, kind=kind, x=values, y=answers, notes=(*notes, *of_x, *of_y), **further)
    if task.network is None or "inputs" in further or np.asarray(x).dtype not in TOKEN_TYPES:
        return task
    return _with_tokens(task)


def _with_tokens(task: Task) -> Task:
    """The task with whole numbers as tokens, if its network takes them as int64; else as it is."""
    from trainers.tasks.network_identity import tried  # builds the network, and needs torch

    try:
        tokens = replace(task, inputs="tokens")
        tried(tokens)
    except ValueError:
        return task
    return tokens


TOKEN_TYPES = (np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64)
"""What whole numbers may come as to be token ids; bytes are pixels."""

_SETTABLE = {f.name for f in fields(Task)} - {"name", "kind", "x", "y", "notes"}


TaskBuilder = Callable[[], Task]
TaskBook = Mapping[str, TaskBuilder]
"""Task name -> the function that makes it."""
