"""The decision rule: which levels are proved good enough, and what the textbook row is called.

Works on bounds [..., L, L] (see `compare`), so that simulated studies pass through the very same lines
as real ones. Nothing here knows a level's name; levels are in cost order, cheapest first.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reports.statistics.compare import Array

Label = Literal["confirmed", "tied", "contradicted", "insufficient", "unlisted"]
Relation = Literal["worse", "tied", "better", "unresolved"]


def admissible(upper: Array, surviving: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """[..., L]: levels proved less than one margin worse than every rival (upper bounds below 1).

    An intersection-union test (method.md 2.7): with bounds at alpha / L, the chance that any admissible
    level is a margin or more worse than some rival is at most alpha.

    Args:
        upper: [..., L, L] one-sided upper bounds.
        surviving: [..., L] the levels still in the race (method.md 2.10): one that was dropped is neither
            admissible nor a rival. None: all.
    """
    rivals: NDArray[np.bool_] = ~np.eye(upper.shape[-1], dtype=bool)
    if surviving is None:
        return np.asarray(((upper < 1.0) | ~rivals).all(axis=-1))
    rivals = rivals & surviving[..., None, :]
    return np.asarray(surviving & ((upper < 1.0) | ~rivals).all(axis=-1))


def worse(lower: Array, upper: Array) -> NDArray[np.bool_]:
    """[..., L, L]: level i is worse than level j: LB > 0, and not proved within one margin of it.

    A difference that is real but negligible (UB < 1) is a tie.
    """
    return (lower > 0.0) & (upper >= 1.0)


def labels(
    lower: Array,
    upper: Array,
    textbook: NDArray[np.bool_],
    *,
    listed: bool = True,
    surviving: NDArray[np.bool_] | None = None,
) -> NDArray[np.str_]:
    """The label [...] of a guideline row.

    confirmed: every admissible level is in the textbook's set; tied: some are, some are not;
    contradicted: one rival is better than every member of the set; else insufficient. A row that the
    textbook's table does not have is unlisted where a level is admissible.

    Args:
        lower: [..., L, L] one-sided lower bounds.
        upper: [..., L, L] one-sided upper bounds.
        textbook: [L] which of the levels the textbook names. None of them: always insufficient.
        listed: the textbook has such a row, whether or not its levels were compared.
        surviving: [..., L] see `admissible`; bounds of a dropped level are those at which it was dropped.
    """
    proved = admissible(upper, surviving)
    if not listed:
        return np.where(proved.any(axis=-1), "unlisted", "insufficient")
    inside = (proved & textbook).any(axis=-1)
    outside = (proved & ~textbook).any(axis=-1)
    beaten = worse(lower, upper)[..., textbook, :].all(axis=-2).any(axis=-1) & textbook.any()
    chosen: NDArray[np.str_] = np.select(
        [inside & ~outside, inside & outside, beaten],
        ["confirmed", "tied", "contradicted"],
        default="insufficient",
    )
    return chosen


def relation(lower: float, upper: float) -> Relation:
    """What the bounds of one pair say about its first level."""
    if lower > -1.0 and upper < 1.0:
        return "tied"
    if lower > 0.0:
        return "worse"
    if upper < 0.0:
        return "better"
    return "unresolved"
