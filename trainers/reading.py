"""Arrays from what people have: comma-separated files and torch datasets."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


def csv_arrays(
    file: Path, *, target: str, kind: Literal["classification", "regression"]
) -> tuple[NDArray[np.float64], list[Any]]:
    """Features [items, columns - 1] and targets [items] of a comma-separated file with a header line.

    Blank lines are skipped. For classification the target column may hold any text.

    Raises:
        ValueError: no such file, not UTF-8 text, repeated or missing column names, lines that differ
            in length, or a cell that is empty or not a finite number (with its line and column).
    """
    header, rows = _read(file)
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
    for i, (line, row) in enumerate(rows):
        label = row.pop(place).strip()
        if kind == "classification" and not label:
            raise ValueError(f"{file} line {line}, column '{target}': the class is missing")
        y.append(label if kind == "classification" else _number(label, file, line, target))
        x[i] = [_number(cell, file, line, name) for cell, name in zip(row, features, strict=True)]
    return x, y


def dataset_arrays(dataset: Any) -> tuple[NDArray[np.float32], list[Any]]:
    """Features [items, ...], channels last, and targets [items] of a torch Dataset of (x, y) pairs.

    Raises:
        ValueError: no length (an iterable dataset), an item that is not a pair, features that differ
            in shape or are not numbers, or a target that is not one value.
    """
    try:
        length = len(dataset)
    except TypeError:
        raise ValueError(
            f"{type(dataset).__name__} has no length; a dataset with __len__ and __getitem__ is needed"
        ) from None
    xs: list[NDArray[np.float32]] = []
    ys: list[Any] = []
    for i in range(length):
        item = dataset[i]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise ValueError(f"item {i} of the dataset is {type(item).__name__}, not a pair (x, y)")
        try:
            x = np.asarray(_channels_last(item[0]), dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"item {i} of the dataset: x must be numbers ({error})") from error
        y = np.asarray(_plain(item[1]))
        if y.size != 1:
            raise ValueError(f"item {i} of the dataset: y must be one value, not of shape {y.shape}")
        if xs and x.shape != xs[0].shape:
            raise ValueError(f"item {i} of the dataset: x has shape {x.shape}, item 0 has {xs[0].shape}")
        xs.append(x)
        ys.append(y.item())
    return (np.stack(xs) if xs else np.empty((0, 1), dtype=np.float32)), ys


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
