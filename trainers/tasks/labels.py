"""Class labels of any sortable kind become class numbers; a missing label is no class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.tasks.single_precision import listed

MISSING = frozenset(
    ("n/a", "na", "#n/a", "#n/a n/a", "#na", "<na>", "n.a.", "null", "none", "nil", "nat", "?", ".", "\\n")
) | {f"{sign}1.#{kind}" for sign in ("", "-") for kind in ("ind", "qnan")}
"""How data frames, databases and spreadsheets write a missing value, in small letters; "" and NaN beside."""


def class_numbers(y: ArrayLike, *, classes: Iterable[Any] | None, where: str) -> NDArray[np.int64]:
    """[items] class numbers 0..C-1 in sorted order of the labels.

    Args:
        y: [items] or [items, 1].
        classes: all labels that there may be, in any order; None: whatever is there and is not missing.
        where: whose they are, for messages.

    Raises:
        ValueError: a missing label, one that `classes` does not name, or labels that cannot be sorted.
    """
    labels = one_each(y, where)
    originals = _as_given(y, labels)
    if classes is None:
        whole = labels.dtype.kind in "biu"  # whose types have nothing for a missing value
        lost = [] if whole else [i for i, label in enumerate(originals) if missing(label)]
    else:
        lost = _outside(originals, classes, where)
    if lost:
        more = f" (and of {len(lost) - 1} more)" if len(lost) > 1 else ""
        example = shown(originals[lost[0]])
        raise ValueError(f"{where}: the class of item {lost[0]}{more} is missing ({example}); {WAY_OUT}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{where}: y has infinite labels")
    if labels.dtype.kind in "US" and len({isinstance(label, (str, bytes)) for label in originals}) > 1:
        raise ValueError(f"{where}: the labels in y must be of one kind, not text and numbers")
    try:
        return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)
    except TypeError as error:
        raise ValueError(f"{where}: the labels in y must be of one kind, to be sorted ({error})") from error


WAY_OUT = "leave such rows out, or, where a class is called that, name all of them: `classes=[...]`"


def one_each(y: ArrayLike, where: str) -> NDArray[Any]:
    """[items] of what is [items] or [items, 1]; ValueError for another shape or masked values."""
    if np.ma.is_masked(y):
        mask: NDArray[np.bool_] = np.ma.getmaskarray(np.ma.asarray(y))
        first = int(np.argwhere(mask)[0][0])
        raise ValueError(f"{where}: y is masked in item {first}; leave such items out")
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{where}: y must hold one value for each item, not an array of shape {labels.shape}"
        )
    return labels


def missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, NaT, pandas.NA, or a text of `MISSING`."""
    if value is None or type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return True
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        word = value.strip().casefold()
        return not word or word in MISSING or word.lstrip("+-") == "nan"
    try:
        return bool(value != value)
    except (TypeError, ValueError, ArithmeticError):  # arrays; a Decimal that signals
        return False


def shown(value: Any) -> str:
    """A missing value as a message names it."""
    return str(value) if value is None or isinstance(value, (float, np.generic)) else f"{value!r:.40}"


def _as_given(y: ArrayLike, labels: NDArray[Any]) -> Sequence[Any]:
    """The labels before numpy made text of them."""
    if isinstance(y, (list, tuple)) and labels.dtype.kind in "USO":
        return list(np.array(y, dtype=object).reshape(-1))
    return list(labels) if labels.dtype.kind == "M" else list(labels.tolist())


def _outside(originals: Sequence[Any], classes: Iterable[Any], where: str) -> list[int]:
    """Items without a label; ValueError for a label that is there and that `classes` does not name."""
    if isinstance(classes, (str, bytes)):
        raise ValueError(f"{where}: classes = {classes!r:.40} must be a list of all labels")
    classes = [str(name) for name in classes]
    allowed = set(classes)
    outside = [i for i, label in enumerate(originals) if str(label) not in allowed]
    for i in outside:
        if not missing(originals[i]):
            rule = f"which is not one of classes = {listed(classes)}"
            raise ValueError(f"{where}: item {i} has the class {shown(originals[i])}, {rule}")
    return outside
