"""What a default costs on a task it was not chosen on, and which two levels cover more (method.md 2.11)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy

from reports.statistics.compare import Array

ROBUST_SHARE = 0.75
"""Share of left-out families within one margin at which a default may be called robust ..."""

ROBUST_LOW = 0.5
"""... if the lower bound of that share is above this."""


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutRegret:
    """Leave-one-family-out regret: choose on all other families, pay on the one left out."""

    mean: float
    """Margins; never below 0, and above 0 by noise alone."""
    worst_tenth: float
    """90th percentile over families."""
    share: float
    """Share of families on which the choice is within one margin of the best level there."""
    share_low: float
    """One-sided 95 % Clopper-Pearson lower bound of that share."""

    @property
    def robust(self) -> bool:
        """Whether 'robust default' may be said; otherwise 'default on average only'."""
        return self.share >= ROBUST_SHARE and self.share_low > ROBUST_LOW


def left_out(regrets: Array) -> LeaveOneOutRegret:
    """Sums up the regrets [F] of the families, each left out in turn."""
    if not len(regrets):
        raise ValueError("leave-one-family-out regret needs at least one family")
    inside = int((regrets < 1.0).sum())
    low = scipy.stats.binomtest(inside, len(regrets), alternative="greater").proportion_ci(0.95).low
    return LeaveOneOutRegret(
        mean=float(regrets.mean()),
        worst_tenth=float(np.quantile(regrets, 0.9)),
        share=inside / len(regrets),
        share_low=float(low),
    )


def family_regrets(units: Array) -> Array:
    """[..., F, L] margins by which each level is worse than the best level of that family.

    Args:
        units: [..., F, L, L] family effects; [i, j]: how much worse i is than j.
    """
    worst: Array = units.max(axis=-1)
    return worst


def portfolio(units: Array) -> tuple[tuple[int, int], float]:
    """The two levels of which the better one costs least on average, and that mean regret.

    The user who tries both pays the smaller regret of each family. The cheapest pair wins ties (levels
    are in cost order).

    Args:
        units: [F, L, L] family effects.
    """
    regrets = family_regrets(units)
    pairs = list(itertools.combinations(range(regrets.shape[-1]), 2))
    costs = [float(np.minimum(regrets[:, a], regrets[:, b]).mean()) for a, b in pairs]
    best = int(np.argmin(costs))
    return pairs[best], costs[best]
