"""Arrays that users pass become a task's: real numbers of any kind, one row for each item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.tasks.labels import missing, one_each, shown
from trainers.tasks.single_precision import listed, single

ROW_NUMBERS = frozenset(
    ("#", "id", "idx", "index", "key", "level_0", "no", "nr", "number", "row", "row_id", "row_number", "uid")
)
"""What a column that counts rows is called, in small letters."""


def inputs(
    values: NDArray[np.generic], *, where: str, shape: Sequence[int] | None, columns: Sequence[str]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Values [items, ...] as float32 [items, features], and what to know of its columns.

    Args:
        values: as `numbers` gives them; a copy is made.
        where: whose it is, for messages.
        shape: an item's, channels last; the places of an image share their channel's numbers.
        columns: names of a table's columns; () where they have none.

    Raises:
        ValueError: what `single_precision.single` refuses.
    """
    if not values.ndim or not values.size:
        return np.empty((0, 0), np.float32), ()
    table = values.reshape(len(values), -1)
    if shape is not None and len(shape) == 3 and table.shape[1] == math.prod(shape):
        channels = table.reshape(-1, shape[2])
        names = [f"channel {c}" for c in range(shape[2])]
        plain, notes = single(channels, where=where, names=names, pooled=True)
        return plain.reshape(table.shape), notes
    names = [f"column '{name}'" for name in columns] or [f"column {j}" for j in range(table.shape[1])]
    plain, notes = single(table, where=where, names=names)
    return plain, (*notes, *(_row_numbers(table, names, columns) if shape is None else ()))


def targets(y: ArrayLike, *, where: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """y of regression [items] as float32, and what to know of it.

    Raises:
        ValueError: what `numbers` and `single_precision.single` refuse, or not one value for each item.
    """
    values = numbers(one_each(y, where), f"{where}: y")
    plain, notes = single(values[:, None], where=where, names=["y"])
    return plain[:, 0], notes


def numbers(values: ArrayLike, what: str) -> NDArray[np.generic]:
    """Real numbers in their own type, of one shape; whole ones beyond 64 bits as objects.

    Raises:
        ValueError: no real numbers, or a missing one.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{what} has masked values; leave such items out")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what} must be real numbers ({error})") from error
    if array.dtype.kind == "O":
        _check_complete(array, what)
    try:
        if array.dtype.kind == "O" and all(isinstance(value, Integral) for value in array.flat):
            return array
        if array.dtype.kind in "cmMV":
            raise TypeError(f"{array.dtype} is not a real number")
        return array if array.dtype.kind in "biuf" else array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} must be real numbers ({error})") from error


def _check_complete(array: NDArray[np.object_], what: str) -> None:
    for place, value in np.ndenumerate(array):
        if missing(value):
            column = f", column {place[1]}" if len(place) == 2 else ""
            raise ValueError(f"{what} has a missing value ({shown(value)}) in item {place[0]}{column}")


def _row_numbers(table: NDArray[np.generic], names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Columns that number the items: by what they hold, or by that and what they are called."""
    if table.dtype.kind == "b":
        return ()
    count = np.arange(len(table))
    which = []
    for j, name in enumerate(names):
        first = table[0, j]
        if float(table[-1, j]) - float(first) == len(table) - 1:
            numbered = np.array_equal(table[:, j], count + first)
        elif columns and columns[j].casefold() in ROW_NUMBERS:
            steps = np.diff(table[:, j].astype(np.float64))
            numbered = bool((steps > 0).all() or (steps < 0).all())
        else:
            numbered = False
        if numbered:
            which.append(name)
    if not which:
        return ()
    verb = "numbers" if len(which) == 1 else "number"
    return (f"{listed(which)} {verb} the rows in order: leave it out unless that order means something",)
