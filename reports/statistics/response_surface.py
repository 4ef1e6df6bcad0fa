"""How the regret of a level depends on its numbers: the points of its searches, smoothed, task by task.

No two tasks tried the same points (every block has a design of its own), so that no value can be looked up in
all of them. What a task would have shown at a value is estimated from its own points nearby.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.compare import Array

WIDTHS = (np.inf, 0.4, 0.2, 0.1, 0.05)
"""Widths of the smoothing that are tried, as shares of a number's range; infinite: the number is ignored."""

FIRST_WIDTH = 0.2
SWEEPS = 2
"""How often the numbers' widths are chosen in turn."""

MOST_CANDIDATES = 512
"""Points compared at most; the first ones of every design come first, and cover the ranges."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """The searched points of one level on one task."""

    family: str
    points: Mapping[str, Array]
    """Number that is searched there -> [N] places in its range, 0 to 1."""
    regret: Array
    """[N] validation regret in margins, capped."""

    def regret_at(self, at: Mapping[str, Array], widths: Mapping[str, float]) -> Array:
        """[C] estimated regret: the mean over all points, those near to a place weighing most.

        Nadaraya and Watson's estimate with a Gaussian weight in each number.

        Args:
            at: number -> [C] places; numbers that are not searched here are ignored, as are those missing.
            widths: number -> standard deviation of its weight.
        """
        near = _nearness(
            [(at[name][:, None] - x) / widths[name] for name, x in self.points.items() if name in at]
        )
        return _weighed(near, self.regret, len(next(iter(at.values()))))


def widths_of(surfaces: Sequence[Surface]) -> dict[str, float]:
    """Number -> the width of WIDTHS at which points predict each other best, over all tasks.

    Squared error at every point from the others of its task; the widths are chosen one number after the
    other, the smoothest of equals.
    """
    names = sorted({name for surface in surfaces for name in surface.points})
    widths = dict.fromkeys(names, FIRST_WIDTH)
    distances = [
        {name: (x[:, None] - x) for name, x in surface.points.items()}
        for surface in surfaces
        if len(surface.regret) > 2
    ]
    regrets = [surface.regret for surface in surfaces if len(surface.regret) > 2]
    for _ in range(SWEEPS if regrets else 0):
        for name in names:
            errors = [_left_out(distances, regrets, {**widths, name: width}) for width in WIDTHS]
            widths[name] = WIDTHS[int(np.argmin(errors))]
        if len(names) == 1:
            break
    return widths


def profiles(
    surfaces: Sequence[Surface], at: Mapping[str, Array], widths: Mapping[str, float]
) -> tuple[tuple[str, ...], Array]:
    """The families, in their order, and their regret [F, C]: the mean over the tasks of each."""
    families = tuple(dict.fromkeys(surface.family for surface in surfaces))
    by_task = np.array([surface.regret_at(at, widths) for surface in surfaces])
    member = np.array([families.index(surface.family) for surface in surfaces])
    return families, np.array([by_task[member == f].mean(axis=0) for f in range(len(families))])


def _left_out(
    distances: Sequence[Mapping[str, Array]], regrets: Sequence[Array], widths: Mapping[str, float]
) -> float:
    """Leave-one-out squared error of the points, mean over tasks."""
    errors = []
    for between, regret in zip(distances, regrets, strict=True):
        near = _nearness([gap / widths[name] for name, gap in between.items()])
        if near is None:
            near = np.zeros((len(regret), len(regret)))
        np.fill_diagonal(near, -np.inf)
        errors.append(float(((_weighed(near, regret, len(regret)) - regret) ** 2).mean()))
    return float(np.mean(errors))


def _nearness(gaps: Sequence[Array]) -> Array | None:
    """Logarithm of the Gaussian weights; None without a number."""
    return -0.5 * np.sum([gap**2 for gap in gaps], axis=0) if gaps else None


def _weighed(near: Array | None, regret: Array, count: int) -> Array:
    if near is None:
        return np.full(count, regret.mean())
    # Far from every point the nearest one speaks alone, instead of 0 / 0.
    weight = np.exp(near - near.max(axis=1, keepdims=True))
    mean: Array = (weight @ regret) / weight.sum(axis=1)
    return mean
