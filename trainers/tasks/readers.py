"""Arrays from what people have: comma-separated files and torch datasets."""

from __future__ import annotations

import csv
import math
import random
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainers.tasks.labels import WAY_OUT, missing

NAMELESS = re.compile(r"(Unnamed: \d+(_level_\d+)?)?")
"""What stands over a column without a name: nothing, or what pandas writes in its place."""

REREAD = 64
"""Items of a dataset that are read twice, evenly spread."""


@dataclass(frozen=True, kw_only=True)
class CsvTable:
    """What a comma-separated file holds."""

    x: NDArray[np.float64]
    """[items, columns - 1]"""
    y: list[Any]
    columns: tuple[str, ...]
    """Their names, the target left out."""
    notes: tuple[str, ...] = ()


def csv_arrays(
    file: Path,
    *,
    target: str,
    kind: Literal["classification", "regression"],
    classes: Iterable[Any] | None = None,
) -> CsvTable:
    """Features and targets of a comma-separated file with a header line.

    Blank lines are skipped. For classification the target column may hold any text but a word for a missing
    value, unless `classes` names it. Where numbers are too long for float64 to keep them apart, the first is
    subtracted from all.

    Raises:
        ValueError: no such file, not UTF-8 text, a column without a name or of another's, lines that differ
            in length, a class that is missing, or a cell that is no finite number (with its line and column).
    """
    header, rows = _read(file)
    for place, name in enumerate(header):
        if NAMELESS.fullmatch(name):
            called = f" ('{name}')" if name else ""
            raise ValueError(
                f"{file}: column {place + 1}{called} has no name; if it is a row number, leave it out, "
                "otherwise name it in the first line"
            )
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise ValueError(f"{file} names a column twice: {', '.join(map(repr, twice))}")
    if target not in header:
        raise ValueError(f"{file} has no column '{target}'; its first line names {_some(header)}")
    if len(header) < 2:
        raise ValueError(f"{file} has no column besides '{target}'; at least one feature is needed")
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{file} line {line}: {len(row)} cells, but the first line names {len(header)}")
    place = header.index(target)
    features = [name for name in header if name != target]
    x = np.empty((len(rows), len(features)))
    y: list[Any] = []
    named = frozenset(() if classes is None else map(str, classes))
    labels = [row.pop(place).strip() for _, row in rows]
    for i, ((line, row), label) in enumerate(zip(rows, labels, strict=True)):
        if kind == "classification" and missing(label) and label not in named:
            what = f"the class is missing ({label}); {WAY_OUT}" if label else "the class is missing"
            raise ValueError(f"{file} line {line}, column '{target}': {what}")
        y.append(label if kind == "classification" else _number(label, file, line, target))
        x[i] = [_number(cell, file, line, name) for cell, name in zip(row, features, strict=True)]
    notes = []
    for j, name in enumerate(features):
        x[:, j], note = _apart([row[j] for _, row in rows], x[:, j], name)
        notes += note
    if kind == "regression":
        apart, note = _apart(labels, np.array(y), target)
        y, notes = apart.tolist(), notes + note
    return CsvTable(x=x, y=y, columns=tuple(features), notes=tuple(notes))


def _apart(
    cells: list[str], numbers: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64], list[str]]:
    """The numbers, less the first where float64 does not keep them apart; and a note, if it does not."""
    if len(set(numbers.tolist())) >= len({cell.strip() for cell in cells}):
        return numbers, []
    exact = [Fraction(cell.strip()) for cell in cells]
    different, left = len(set(exact)), len(set(numbers.tolist()))
    if different == left:
        return numbers, []
    note = (
        f"column '{name}' has {different} different values, {left} of them in float64: "
        f"{cells[0].strip()} was subtracted"
    )
    return np.array([float(value - exact[0]) for value in exact]), [note]


def dataset_arrays(dataset: Any) -> tuple[NDArray[Any], list[Any]]:
    """Features [items, ...], channels last, and targets [items] of a torch Dataset of (x, y) pairs.

    Every item is read once, and `REREAD` of them once more; that draws nothing from global generators.

    Raises:
        ValueError: no length (an iterable dataset), an item that is not a pair, features that differ
            in shape or are not numbers, a target that is not one value, or an item that is another when it
            is read again.
    """
    try:
        length = len(dataset)
    except TypeError:
        raise ValueError(
            f"{type(dataset).__name__} has no length; a dataset with __len__ and __getitem__ is needed"
        ) from None
    xs: list[NDArray[Any]] = []
    ys: list[Any] = []
    for i in range(length):
        x, y = _item(dataset, i)
        if xs and x.shape != xs[0].shape:
            raise ValueError(f"item {i} of the dataset: x has shape {x.shape}, item 0 has {xs[0].shape}")
        xs.append(x)
        ys.append(y)
    with _random_numbers_put_back():
        for i in sorted({int(i) for i in np.linspace(0, length - 1, REREAD)} if length else ()):
            x, y = _item(dataset, i)
            if not (_same(x, xs[i]) and _same(y, ys[i])):
                raise ValueError(
                    f"item {i} of the dataset is another when it is read again: a random transform, or data "
                    "that change while they are read. A task holds every item once, so one draw would stand "
                    "for all; make the dataset deterministic, and name what may be done to its images in "
                    "augmentations={'shift', 'flip', 'rotation'}: the factor `augmentation` then draws anew "
                    "in every epoch"
                )
    return (np.stack(xs) if xs else np.empty((0, 1), dtype=np.float32)), ys


def _item(dataset: Any, i: int) -> tuple[NDArray[Any], Any]:
    """One item: a copy of its x, of its own type, and its y."""
    item = dataset[i]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ValueError(f"item {i} of the dataset is {type(item).__name__}, not a pair (x, y)")
    try:
        x = np.array(_channels_last(item[0]))  # a dataset may hand out one buffer again and again
        if x.dtype.kind not in "biuf":
            x = x.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"item {i} of the dataset: x must be numbers ({error})") from error
    y = np.asarray(_plain(item[1]))
    if y.size != 1:
        raise ValueError(f"item {i} of the dataset: y must be one value, not of shape {y.shape}")
    return x, y.item()


def _same(now: Any, before: Any) -> bool:
    if isinstance(now, np.ndarray):
        return bool(np.array_equal(now, before, equal_nan=now.dtype.kind == "f"))
    return now is before or bool(now == before) or (missing(now) and missing(before))


@contextmanager
def _random_numbers_put_back() -> Iterator[None]:
    """What Python, numpy and torch draw next does not depend on what a user's code draws in here."""
    torch = sys.modules.get("torch")  # a dataset draws from torch only if torch is imported
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    state = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch:
            torch.set_rng_state(state)


def _read(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Column names, and each row that is not blank with its line number."""
    if not file.is_file():
        raise ValueError(f"no file {file}")
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:  # spreadsheets write a byte-order mark
            reader = csv.reader(text)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (csv.Error, OSError) as error:
        raise ValueError(f"{file} cannot be read as comma-separated text ({error})") from error
    if not header:
        raise ValueError(f"{file} must begin with a line that names the columns; it is empty")
    return header, rows


def _number(cell: str, file: Path, line: int, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{file} line {line}, column '{column}': '{cell}' is not a finite number")
    return value


def _plain(value: Any) -> Any:
    """`value`, or the CPU array behind a tensor that may want gradients or live on a device."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _channels_last(value: Any) -> Any:
    """An item's array: a tensor [C, H, W] as [H, W, C], a grey PIL image as [H, W, 1], others as they are."""
    array = _plain(value)
    if array is not value and array.ndim == 3:
        return np.moveaxis(array, 0, -1)
    if hasattr(value, "getbands") and len(value.getbands()) == 1:
        return np.asarray(value)[..., None]
    return array


def _some(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
