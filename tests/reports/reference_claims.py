"""Verdicts of claims a second time, type by type, from arrays of errors: method 2.8 and 2.9 in loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.reports import reference

Blocks = NDArray[np.float64]
"""[T, R] effects in margins; above 0 speaks for the claim."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Errors [T, R, L] of a claim's levels in one regime, in its order."""

    errors: NDArray[np.float64]
    delta: Sequence[float]
    family: Sequence[int]
    overlap: Sequence[float]

    @property
    def general(self) -> bool:
        return len(set(self.family)) >= 8


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One effect over a row's tasks."""

    mean: float
    error: float
    freedom: float

    def bounds(self, level: float) -> tuple[float, float]:
        half = float(stats.t.isf(level, self.freedom)) * self.error
        return self.mean - half, self.mean + half

    def p(self, state: str) -> float:
        """One-sided superiority; two one-sided tests for a tie; 1 for what is open."""
        above = [float(stats.t.sf((self.mean - at) / self.error, self.freedom)) for at in (0.0, -1.0)]
        below = [float(stats.t.cdf((self.mean - at) / self.error, self.freedom)) for at in (0.0, 1.0)]
        ps = {"better": above[0], "worse": below[0], "tied": max(above[1], below[1]), "unresolved": 1.0}
        return ps[state]


def block_effects(row: Row, better: int, worse: int) -> Blocks:
    """How much worse one level is than another in every block, clipped at 4 margins."""
    gaps = row.errors[..., worse] - row.errors[..., better]
    return np.array(
        [[reference.clipped(float(gap) / row.delta[t]) for gap in own] for t, own in enumerate(gaps)]
    )


def effect(blocks: Blocks, row: Row) -> Effect:
    """Over families, or with fewer than 8 over the splits of these tasks."""
    if not row.general:
        mean, error, freedom = reference.splits_of(blocks.tolist(), row.family, row.overlap)
        return Effect(mean=mean, error=error, freedom=freedom)
    units = families(blocks, row)
    error = float(np.std(units, ddof=1)) / math.sqrt(len(units))
    return Effect(mean=float(np.mean(units)), error=error, freedom=len(units) - 1)


def families(blocks: Blocks, row: Row) -> list[float]:
    """[F] blocks to tasks, variants of a generator to one."""
    return [
        float(np.mean([blocks[t].mean() for t, own in enumerate(row.family) if own == f]))
        for f in sorted(set(row.family))
    ]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a claim is called, and its p."""

    label: str
    p: float
    effect: Effect
    level: float
    """One-sided, of its bounds."""

    clear: bool = True
    """False where a bootstrapped bound lies so near to its limit that two bootstraps may disagree."""


def pair(kind: str, row: Row, alpha: float, looks: int, turned: int | None = None) -> Expected:
    """better, equal, usually and always.

    Args:
        kind: of the claim.
        row: of its two levels, the better one first.
        alpha: of the question.
        looks: that the plan allows.
        turned: of an 'always': tasks that its challenge proved reversed; None where there was none.
    """
    blocks, level = block_effects(row, 0, 1), alpha / (2 * looks)
    found = effect(blocks, row)
    state = reference.state(*found.bounds(level))
    low, clear = math.nan, True
    if kind == "usually":
        low = _improve_low(blocks, row) if row.general else 0.0
        clear = abs(low - 0.5) > 0.03
    if kind == "always":
        fine = turned == 0 and row.general and _prediction_low(blocks, row) > -1
        label = {"worse": "contradicted", "tied": "tied", "unresolved": "insufficient"}.get(
            state, "confirmed" if fine else "insufficient"
        )
        label = "contradicted" if turned else label
    else:
        label = reference.claim(kind, *found.bounds(level), improve_low=low)
    p = 1.0 if label == "insufficient" else found.p(state)
    return Expected(label=label, p=p, effect=found, level=level, clear=clear)


def _improve_low(blocks: Blocks, row: Row) -> float:
    shares = families((blocks > 0) + 0.5 * (blocks == 0), row)
    drawn = np.random.default_rng(5).choice(shares, (4000, len(shares))).mean(axis=1)
    return float(np.quantile(drawn, 0.025))


def _prediction_low(blocks: Blocks, row: Row) -> float:
    units, count = families(blocks, row), blocks.shape[1]
    noise = sum(
        float(np.var(own, ddof=1)) / count / list(row.family).count(row.family[t]) ** 2 / len(units)
        for t, own in enumerate(blocks)
    )
    between = float(np.var(units, ddof=1))
    spread = between / len(units) + max(0.0, between - noise)
    return float(np.mean(units)) - float(stats.t.isf(0.025, len(units) - 1)) * math.sqrt(spread)


def ordering(row: Row, alpha: float, looks: int) -> Expected:
    """Best first: Page's trend, and every neighbour better or tied with half of them better."""
    count = row.errors.shape[-1]
    level = alpha / (count * looks)
    steps = [effect(block_effects(row, a, a + 1), row) for a in range(count - 1)]
    states = [reference.state(*step.bounds(level)) for step in steps]
    trend = page(row, list(range(count)))
    ps = [step.p(state) for step, state in zip(steps, states, strict=True)]
    label, p = "insufficient", 1.0
    if "worse" in states:
        worst = min(p for p, state in zip(ps, states, strict=True) if state == "worse")
        label, p = "contradicted", min(1.0, len(ps) * worst)
    elif set(states) == {"tied"}:
        label, p = "tied", max(ps)
    elif "unresolved" not in states and 2 * states.count("better") >= len(ps) and trend <= alpha / looks:
        label, p = "confirmed", max(trend, *ps)
    return Expected(label=label, p=p, effect=effect(block_effects(row, 0, count - 1), row), level=level)


def dose(row: Row, direction: str, alpha: float, looks: int) -> Expected:
    """From the least to the most: a straight line over equal steps, Page's trend, and no step against it."""
    count = row.errors.shape[-1]
    rises = np.stack([block_effects(row, 0, i) for i in range(count)], axis=-1)
    places = np.arange(count)
    slopes = [[np.polyfit(places, rise, 1)[0] * (count - 1) for rise in own] for own in rises]
    line = np.array(slopes) * (-1 if direction == "better" else 1)
    order = list(range(count))[:: -1 if direction == "better" else 1]  # the least error first
    found, level = effect(line, row), alpha / (2 * looks)
    state = reference.state(*found.bounds(level))
    steps = [effect(block_effects(row, a, b), row) for a, b in pairwise(order)]
    fall = [step for step in steps if reference.state(*step.bounds(alpha / (count * looks))) == "worse"]
    trend = page(row, order)
    label, p = "insufficient", 1.0
    if state == "tied":
        label, p = "tied", found.p("tied")
    elif state == "worse":
        label, p = "contradicted", found.p("worse")
    elif fall:
        label, p = "contradicted", min(1.0, len(steps) * min(step.p("worse") for step in fall))
    elif found.bounds(level)[0] > 0 and trend <= alpha / looks:
        label, p = "confirmed", max(trend, found.p(state))
    return Expected(label=label, p=p, effect=found, level=level)


def regime(here: Row, there: Row, alpha: float, looks: int) -> Expected:
    """The first level leads in the first regime, the second in the second; both rows have the same tasks."""
    level = alpha / (2 * looks)
    first, second = block_effects(here, 0, 1), block_effects(there, 0, 1)
    one, two, gap = effect(first, here), effect(second, there), effect(first - second, here)
    states = reference.state(*one.bounds(level)), reference.state(*two.bounds(level))
    wrong = [one.p("worse")] * (states[0] == "worse") + [two.p("better")] * (states[1] == "better")
    label, p = "insufficient", 1.0
    if wrong:
        label, p = "contradicted", min(1.0, 2 * min(wrong))
    elif states == ("tied", "tied"):
        label, p = "tied", max(one.p("tied"), two.p("tied"))
    elif gap.bounds(level)[0] > 0 and one.mean > 0 and two.mean < 0:
        label, p = "confirmed", gap.p("better")
    return Expected(label=label, p=p, effect=gap, level=level)


def page(row: Row, order: Sequence[int]) -> float:
    """One-sided p of Page's trend test over families; over blocks where they are few."""
    count = row.errors.shape[-1]
    above = np.stack([block_effects(row, 0, i) for i in range(count)], axis=-1)
    if row.general:
        units = np.stack([families(above[..., i], row) for i in range(count)], axis=-1)
    else:
        units = above.reshape(-1, count)
    return float(stats.page_trend_test(units[:, list(order)]).pvalue)
