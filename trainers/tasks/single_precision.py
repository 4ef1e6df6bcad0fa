"""How numbers become float32: as they are, or centred first where an offset would swallow what differs.

The rule: a column is centred if float32 would move one of its values by more than `RESOLUTION` of the
column's SD. That is an offset of about 1700 SDs: times since 1970, identifiers, readings around a large
constant. Everything else becomes float32 as it is, to the bit. A column's own mean is what z-scoring takes
away later in any case, so that nothing but a study of `raw` inputs sees the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESOLUTION = 1e-4
"""Share of a column's SD by which float32 may move a value."""
WHOLE = 1 << 24
"""Whole numbers up to this are exact in float32."""
LEAST = float(np.finfo(np.float32).tiny)
"""Numbers nearer to 0 count as 0 while a network trains (denormals are flushed)."""
MOST = float(np.finfo(np.float32).max)
COARSE = 0.01
"""Step of float32 in SDs of a column from which on what came as float32 is noted."""
SHOWN = 4
"""Columns that one note names."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column as float32, with what became of it."""

    values: NDArray[np.float32]
    different: int = 0
    """Values that differ as they were given; 0 where they were not counted,"""
    plain: int = 0
    """as many of these as differ in float32 without centring,"""
    left: int = 0
    """and as they are now."""
    offset: float | None = None
    """What was subtracted; None where nothing was."""


def single(
    values: NDArray[Any], *, where: str, names: Sequence[str], pooled: bool = False
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """`values` [rows, columns] as float32, and what to know of it.

    Args:
        values: real numbers of any kind; NaN and infinity stay what they are.
        where: whose they are, for messages.
        names: what each column is called in messages.
        pooled: whether the columns are channels, whose rows are all places of all items: too many to count.

    Raises:
        ValueError: a column that varies and is beyond float32, or of which one value is left in it.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite: refused in words
        plain = np.array(values, dtype=np.float32, copy=True)
    if values.dtype == np.float32:
        return plain, () if pooled else _coarse(plain, names)
    if _exact(values):
        return plain, ()
    notes: dict[str, list[str]] = {}
    for j, name in enumerate(names):
        column = _column(values[:, j], plain[:, j], count=not pooled)
        plain[:, j] = column.values
        counts = f"{column.different} different values, {column.left} of them left in float32"
        if column.different > 1 and column.left == 1:
            rule = f"they lie within {LEAST:.2g} of 0; multiply it by a constant"
            raise ValueError(f"{where}: {name} has {counts}: {rule}")
        if not np.isfinite(column.values).all() and _finite(values[:, j]):
            rule = f"beyond {MOST:.2g}, which float32 does not hold; divide it by a constant"
            raise ValueError(f"{where}: {name} has values {rule}")
        if column.offset is not None:
            lost = f": of {column.different} different values {column.plain} would have been left"
            what = f"was centred before it became float32{lost if column.different else ''}"
            notes.setdefault(what, []).append(f"{name} ({column.offset:.12g} was subtracted)")
        if column.left < column.different / 2:
            notes.setdefault(f"has {counts}, centred or not", []).append(name)
    return plain, tuple(f"{listed(which)} {what}" for what, which in notes.items())


def listed(names: Sequence[str]) -> str:
    """The first few of the names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _exact(values: NDArray[Any]) -> bool:
    """Whether float32 holds all of them, as the type or the largest says."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b" or not values.size or (kind in "iuf" and size <= 2):
        return True
    return kind in "iu" and bool(values.max() <= WHOLE and values.min() >= -WHOLE)


def _column(values: NDArray[Any], plain: NDArray[np.float32], *, count: bool) -> Column:
    if not _finite(values):
        return Column(values=plain)
    as_is = _flushed(plain)
    if values.dtype.kind == "f" and np.array_equal(as_is, values):
        return Column(values=plain)
    offset, apart = _apart(values)
    mean = float(apart.mean())
    centred = apart - mean
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.abs(as_is - float(np.float32(offset)) - apart).max()
        new = centred.astype(np.float32)
        kept = bool(moved <= RESOLUTION * centred.std())
    if not count:
        return Column(values=plain) if kept else Column(values=new, offset=offset + mean)
    order = np.argsort(apart)  # and that of all of them: rounding keeps it
    with np.errstate(invalid="ignore"):
        different, before = (_runs(part[order]) for part in (apart, as_is))
    after = 0 if kept or not np.isfinite(new).all() else _runs(_flushed(new)[order])
    if after < before or after == 1:
        return Column(values=plain, different=different, plain=before, left=before)
    return Column(values=new, different=different, plain=before, left=after, offset=offset + mean)


def _runs(sorted_values: NDArray[np.float64]) -> int:
    """Different values."""
    return 1 + int(np.count_nonzero(np.diff(sorted_values)))


def _apart(values: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    """A number, and how far each value is from it: exact where values are beyond what float64 tells apart."""
    if values.dtype.kind in "iu":
        least = values.min()
        above = values.astype(np.uint64) - least.astype(np.uint64)  # modulo 2^64, where a difference is right
        return float(least), above.astype(np.float64)
    if values.dtype.kind == "O":
        exact = [Fraction(value) for value in values.tolist()]
        return float(exact[0]), np.array([float(value - exact[0]) for value in exact])
    if values.dtype.itemsize > 8:
        return float(values[0]), (values - values[0]).astype(np.float64)
    return 0.0, values.astype(np.float64)


def _flushed(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """As a training reads them: denormals are 0."""
    return np.where(np.abs(values) < LEAST, 0.0, values.astype(np.float64))


def _finite(values: NDArray[Any]) -> bool:
    return bool(np.isfinite(values.astype(np.float64)).all())


def _coarse(plain: NDArray[np.float32], names: Sequence[str]) -> tuple[str, ...]:
    """Of what came as float32, the columns whose values are hardly further apart than its steps."""
    if not len(plain) or not np.isfinite(plain).all():
        return ()
    size = np.abs(plain).max(axis=0)
    step = np.spacing(size).astype(np.float64)
    # A constant is what is left of a column that was narrower than one step.
    coarse = (size >= WHOLE) & (step > COARSE * plain.std(axis=0, dtype=np.float64))
    which = [f"{names[j]} (steps of {step[j]:g} at {size[j]:.3g})" for j in np.flatnonzero(coarse).tolist()]
    rule = "came in float32, too coarse for it: subtract an offset in float64 first"
    return (f"{listed(which)} {rule}",) if which else ()
