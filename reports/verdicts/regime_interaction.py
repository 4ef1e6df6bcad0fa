"""Whether an effect depends on the regime, and from which depth on (method.md 2.11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.evidence.arrays import Evidence
from reports.statistics.claim_rules import EffectBounds
from reports.statistics.compare import Array, block_effects, bounded, family_effects, over_families
from search_spaces.factor import unknown

GRID = 400
"""Depths at which the interval is looked at, evenly spaced in log depth: steps of less than 1 %."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossover:
    """Where the better of two levels changes, in hidden layers; arrays [...] over simulated studies."""

    depth: Array
    """The first depth at which the mean effect changes its sign; NaN where it never does."""
    low: Array
    """Least depth at which the 95 % interval of the effect contains 0; NaN where it never does."""
    high: Array
    """Greatest such depth. At the end of the measured range the interval is open."""
    matters_from: Array
    """Least depth from which on the effect is proved beyond +1 margin up to the greatest; NaN: nowhere."""


def paired_effects(rows: Sequence[Evidence], level: str, against: str) -> tuple[tuple[str, ...], Array]:
    """One pair of levels in several regimes, on the families that all of them judged.

    Args:
        rows: evidence of one question, regime by regime.
        level: how much worse this one is ...
        against: ... than this one.

    Returns:
        The families, in the first row's order, and effects [F, D] in margins.

    Raises:
        ValueError: fewer than two common families, or a level that a row does not compare.
    """
    for row in rows:
        for name in (level, against):
            if name not in row.levels:
                raise unknown(f"level of {row.question.factor}@{row.regime}", name, row.levels)
    rows = [row.of(level, against) for row in rows]
    common = [name for name in rows[0].families if all(name in row.families for row in rows)]
    if len(common) < 2:
        raise ValueError(
            f"{level} against {against}: {len(common)} task families are judged in all of "
            f"{', '.join(row.regime for row in rows)}; an interval needs at least two"
        )
    columns = []
    for row in rows:
        i, j = row.levels.index(level), row.levels.index(against)
        blocks = block_effects(row.tuned[..., [i, j]], row.delta)[..., 0, 1].mean(axis=-1)
        units = family_effects(blocks[:, None, None], row.family)[:, 0, 0]
        columns.append([units[row.families.index(name)] for name in common])
    return tuple(common), np.array(columns).T


def contrast(first: Array, second: Array, *, alpha: float, looks: int = 1) -> EffectBounds:
    """Difference of differences: the effect in one regime minus the effect in another, paired by family.

    Args:
        first: [..., F] effects of one pair of levels, in margins.
        second: [..., F] of the same families in the other regime.
        alpha: one-sided bounds are at alpha / (2 * looks).
        looks: how often the plan allows the data to be looked at.
    """
    mean, error, freedom = over_families((first - second)[..., None, None])
    bounds = bounded(mean, error, freedom, level=alpha / (2 * looks))
    return EffectBounds(
        mean=bounds.mean[..., 0, 0],
        error=bounds.error[..., 0, 0],
        lower=bounds.lower[..., 0, 0],
        upper=bounds.upper[..., 0, 0],
    )


def crossover(effects: Array, depths: Sequence[int]) -> Crossover:
    """The depth where an effect changes its sign, with a 95 % interval by inversion.

    Each family's effect is joined by straight lines over log depth; at every depth in between, a paired t
    interval over families is tested for containing 0. The depths where it does are the interval: no
    curve is fitted, and the sign may change at any depth.

    Args:
        effects: [..., F, D] effect of one pair in each family at each depth, in margins.
        depths: [D] hidden layers, increasing.

    Raises:
        ValueError: fewer than two depths, or depths that do not increase.
    """
    if len(depths) < 2 or list(depths) != sorted(set(depths)):
        raise ValueError(f"a crossover needs at least two increasing depths, not {tuple(depths)}")
    at = np.log2(np.asarray(depths, dtype=float))
    grid = np.unique(np.concatenate([np.linspace(at[0], at[-1], GRID), at]))
    places = 2**grid
    places[np.searchsorted(grid, at)] = depths  # without the rounding of a logarithm
    # Straight lines between neighbours, for every family at once.
    left = np.clip(np.searchsorted(at, grid, side="right") - 1, 0, len(at) - 2)
    share = (grid - at[left]) / (at[left + 1] - at[left])
    along = effects[..., left] * (1 - share) + effects[..., left + 1] * share  # [..., F, G]
    # Families are the third axis from the end; depths take the place of pairs of levels.
    mean, error, freedom = over_families(along[..., :, None, :])
    bounds = bounded(mean, error, freedom, level=0.025)
    middle, low, high = (part[..., 0, :] for part in (bounds.mean, bounds.lower, bounds.upper))
    hold = (low <= 0) & (high >= 0)
    # A change of sign between two points of the grid is inside, though neither need contain 0.
    jump = (np.sign(low[..., 1:]) != np.sign(low[..., :-1])) & (
        np.sign(high[..., 1:]) != np.sign(high[..., :-1])
    )
    hold[..., 1:] |= jump
    hold[..., :-1] |= jump
    turn = np.sign(middle[..., 1:]) != np.sign(middle[..., :-1])
    proved = np.logical_and.accumulate((low > 1.0)[..., ::-1], axis=-1)[..., ::-1]
    return Crossover(
        depth=_first(turn, 2 ** ((grid[1:] + grid[:-1]) / 2)),
        low=_first(hold, places),
        high=_first(hold[..., ::-1], places[::-1]),
        matters_from=_first(proved, places),
    )


def _first(where: np.ndarray, values: Array) -> Array:
    """The value at the first True of the last axis; NaN where there is none."""
    first: Array = np.where(where.any(axis=-1), values[where.argmax(axis=-1)], np.nan)
    return first
