"""What a textbook's claim is called, by the kind of claim it is (method.md 2.8).

Everything works on arrays of any leading axes, so that simulated ledgers of claims pass through the very
same lines as a real one. A claim compares A with B: its effect u is how much worse B is than A, in margins
(u > 0: A is better), with one-sided bounds at alpha / (levels * looks), pairs included.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy
from numpy.typing import NDArray

from reports.statistics.compare import Array, Comparison
from reports.statistics.decision import Label

Strings = NDArray[np.str_]
Bools = NDArray[np.bool_]

RELIABLE_SHARE = 0.5
"""'Usually' needs a lower bound of P(improve) above this."""

SUCCESS_MARGIN = 0.10
"""Difference of success rates (OK%) that matters."""

EXACT_SHARE = 0.95
"""Share of seeds in which an exact statement must hold within its tolerance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectBounds:
    """The effect of one pair in every simulated or real study; arrays [...], in margins."""

    mean: Array
    error: Array
    """Standard error of the mean."""
    lower: Array
    upper: Array

    def mirrored(self) -> EffectBounds:
        """The same pair with A and B exchanged."""
        return EffectBounds(mean=-self.mean, error=self.error, lower=-self.upper, upper=-self.lower)


def between(comparison: Comparison, a: int, b: int) -> EffectBounds:
    """How much worse level number `b` is than level number `a`."""
    return EffectBounds(
        mean=comparison.mean[..., b, a],
        error=comparison.error[..., b, a],
        lower=comparison.lower[..., b, a],
        upper=comparison.upper[..., b, a],
    )


def states(u: EffectBounds) -> Strings:
    """'better' (A), 'tied', 'worse' or 'unresolved' for every pair.

    Tied: -1 < LB and UB < 1, even where 0 is excluded (detectable but negligible). Better: LB > 0 and
    UB >= 1. Worse mirrors it.
    """
    return np.select(
        [(u.lower > -1.0) & (u.upper < 1.0), u.lower > 0.0, u.upper < 0.0],
        ["tied", "better", "worse"],
        default="unresolved",
    )


def better_claim(u: EffectBounds) -> Strings:
    """'A beats B'."""
    return _named(states(u), better="confirmed", tied="tied", worse="contradicted")


def equal_claim(u: EffectBounds) -> Strings:
    """'A = B', 'X is not needed', 'both work': a tie confirms, and any side that is better contradicts."""
    return _named(states(u), better="contradicted", tied="confirmed", worse="contradicted")


def always_claim(u: EffectBounds, prediction_low: Array, reversed_tasks: NDArray[np.int64]) -> Strings:
    """'A always beats B': a single task that is reversed beyond the margin contradicts it.

    Args:
        u: over all tasks.
        prediction_low: [...] lower end of the 95 % interval for a new family.
        reversed_tasks: [...] tasks that the challenge stage proved reversed (`reversals.reversed_tasks`); -1
            where the stage was not run, so that the claim can be neither confirmed nor excused.
    """
    state = states(u)
    never = reversed_tasks == 0
    return np.select(
        [
            (reversed_tasks > 0) | (state == "worse"),
            (state == "better") & (prediction_low > -1.0) & never,
            state == "tied",
        ],
        ["contradicted", "confirmed", "tied"],
        default="insufficient",
    )


def usually_claim(u: EffectBounds, improve_low: Array) -> Strings:
    """'A generally beats B': better on average, and P(improve) above one half (lower bound [...])."""
    state = states(u)
    return np.select(
        [(state == "better") & (improve_low > RELIABLE_SHARE), state == "tied", state == "worse"],
        ["confirmed", "tied", "contradicted"],
        default="insufficient",
    )


def ordering_claim(comparison: Comparison, order: tuple[int, ...], page_p: Array, *, alpha: float) -> Strings:
    """'a > b > c ...': a trend, and every adjacent pair confirmed or tied with at least half confirmed.

    Args:
        comparison: of all levels.
        order: level numbers as claimed, best first, at least two.
        page_p: [...] one-sided p of Page's trend test over families (`trend_p`).
        alpha: the trend's own level.
    """
    pairs = [better_claim(between(comparison, a, b)) for a, b in pairwise(order)]
    labels = np.stack(pairs, axis=-1)
    good = np.isin(labels, ("confirmed", "tied")).all(axis=-1)
    half = 2 * (labels == "confirmed").sum(axis=-1) >= len(pairs)
    return np.select(
        [
            (labels == "contradicted").any(axis=-1),
            (labels == "tied").all(axis=-1),
            good & half & (np.asarray(page_p) <= alpha),
        ],
        ["contradicted", "tied", "confirmed"],
        default="insufficient",
    )


def partial_order(comparison: Comparison) -> tuple[tuple[int, int], ...]:
    """(better, worse) of every pair of one study that is proved: what survives of a claimed ordering."""
    levels = comparison.mean.shape[-1]
    return tuple(
        (a, b)
        for a in range(levels)
        for b in range(levels)
        if a != b and states(between(comparison, a, b)) == "better"
    )


def regime_claim(difference: EffectBounds, in_first: EffectBounds, in_second: EffectBounds) -> Strings:
    """'A if shallow, B if deep'.

    Confirmed: the difference of differences is above 0 and A leads in the first regime, B in the second.
    Contradicted: one regime has the claimed sign reversed, proved.

    Args:
        difference: u in the first regime minus u in the second (`regime_interaction.contrast`).
        in_first: u where A is claimed to be better.
        in_second: u where B is.
    """
    first, second = states(in_first), states(in_second)
    signs = (in_first.mean > 0) & (in_second.mean < 0)
    return np.select(
        [
            (first == "worse") | (second == "better"),
            (first == "tied") & (second == "tied"),
            (difference.lower > 0) & signs,
        ],
        ["contradicted", "tied", "confirmed"],
        default="insufficient",
    )


def dose_claim(slope: EffectBounds, steps: Bools, trend: Array, *, alpha: float) -> Strings:
    """'The more X, the more Y'.

    Args:
        slope: change of Y over the whole range of doses, in margins, by a straight line per family.
        steps: [...] some step from one dose to the next is proved to run the other way.
        trend: [...] one-sided p of Page's trend test.
        alpha: the trend's own level.
    """
    state = states(slope)
    return np.select(
        [
            state == "tied",
            (state == "worse") | steps,
            (slope.lower > 0) & (np.asarray(trend) <= alpha),
        ],
        ["tied", "contradicted", "confirmed"],
        default="insufficient",
    )


def success_claim(a: tuple[int, int], b: tuple[int, int], *, alpha: float = 0.05) -> Label:
    """'A trains more often than B': Newcombe's interval of the difference beyond 10 percentage points.

    Args:
        a: (members that trained, members) of A.
        b: of B.
        alpha: one-sided level of each end.
    """
    low, high = newcombe(a, b, alpha=alpha)
    if low > SUCCESS_MARGIN:
        return "confirmed"
    if high < -SUCCESS_MARGIN:
        return "contradicted"
    return "tied" if low > -SUCCESS_MARGIN and high < SUCCESS_MARGIN else "insufficient"


def newcombe(a: tuple[int, int], b: tuple[int, int], *, alpha: float) -> tuple[float, float]:
    """Newcombe's (1998) hybrid score interval of p_a - p_b, from two Wilson intervals."""
    (p, p_low, p_high), (q, q_low, q_high) = (_wilson(*counts, alpha) for counts in (a, b))
    below = np.sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    above = np.sqrt((p_high - p) ** 2 + (q - q_low) ** 2)
    return float(p - q - below), float(p - q + above)


def exact_claim(measured: Array, expected: float, tolerance: float) -> Label:
    """An exact statement: within its tolerance in at least 95 % of seeds [S]; no seeds, no answer."""
    if not len(measured):
        return "insufficient"
    inside = np.abs(measured - expected) <= tolerance
    return "confirmed" if inside.mean() >= EXACT_SHARE else "contradicted"


def trend_p(unit_errors: Array, order: tuple[int, ...]) -> float:
    """One-sided p of Page's trend test: errors rise along `order` (best first) over families.

    Args:
        unit_errors: [F, L] error of each level, in margins, family by family.
        order: level numbers, at least three (Page's test needs them).
    """
    return float(scipy.stats.page_trend_test(unit_errors[:, list(order)]).pvalue)


def _wilson(hits: int, count: int, alpha: float) -> tuple[float, float, float]:
    ends = scipy.stats.binomtest(hits, count).proportion_ci(confidence_level=1 - 2 * alpha, method="wilson")
    return hits / count, float(ends.low), float(ends.high)


def _named(state_names: Strings, **names: str) -> Strings:
    return np.select([state_names == state for state in names], list(names.values()), default="insufficient")
