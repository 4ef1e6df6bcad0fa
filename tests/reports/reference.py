"""Bounds, races and claims a second time: loops over plain numbers, straight from method.md with scipy.

Nothing of `reports` is imported here. Levels are numbers in cost order, families are the tasks' own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Pairs = Mapping[tuple[int, int], tuple[float, float]]
"""(a, b) -> one-sided bounds on how much worse a is than b, in margins."""


def family_means(
    errors: NDArray[np.float64], delta: Sequence[float], family: Sequence[int], a: int, b: int
) -> list[float]:
    """Method 2.6: effects clipped at 4 margins, blocks to tasks, variants of a generator to one family."""
    per_family: dict[int, list[float]] = {}
    for t, own in enumerate(family):
        effects = [clipped((errors[t, r, a] - errors[t, r, b]) / delta[t]) for r in range(errors.shape[1])]
        per_family.setdefault(own, []).append(sum(effects) / len(effects))
    return [sum(values) / len(values) for _, values in sorted(per_family.items())]


def clipped(effect: float) -> float:
    """At 4 margins: it fails. NaN where a level was not trained."""
    return effect if math.isnan(effect) else max(-4.0, min(4.0, effect))


def bounds(values: Sequence[float], level: float) -> tuple[float, float]:
    """One-sided t bounds on the mean at `level`."""
    half = quantile(level, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


@lru_cache
def quantile(level: float, freedom: float) -> float:
    """Student's t."""
    return float(stats.t.isf(level, freedom))


def all_bounds(
    errors: NDArray[np.float64], delta: Sequence[float], family: Sequence[int], level: float
) -> Pairs:
    """Every ordered pair."""
    pairs = itertools.permutations(range(errors.shape[-1]), 2)
    return {(a, b): bounds(family_means(errors, delta, family, a, b), level) for a, b in pairs}


def over_splits(
    errors: NDArray[np.float64],
    delta: Sequence[float],
    family: Sequence[int],
    overlap: Sequence[float],
    a: int,
    b: int,
) -> tuple[float, float, float]:
    """Of a pair: mean, standard error and degrees of freedom over the data splits of these tasks."""
    effects = [
        [clipped((errors[t, r, a] - errors[t, r, b]) / delta[t]) for r in range(errors.shape[1])]
        for t in range(len(delta))
    ]
    return splits_of(effects, family, overlap)


def splits_of(
    effects: Sequence[Sequence[float]], family: Sequence[int], overlap: Sequence[float]
) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of block effects of each task (method 2.7).

    Nadeau and Bengio's variance of each task, 1/R + test items per training item; tasks add up with equal
    weights of families, and of tasks in one; Welch and Satterthwaite's degrees of freedom.
    """
    mean = variance = fourth = 0.0
    for own, blocks, share in zip(family, effects, overlap, strict=True):
        weight = 1 / (len(set(family)) * list(family).count(own))
        part = weight**2 * float(np.var(blocks, ddof=1)) * (1 / len(blocks) + share)
        mean += weight * sum(blocks) / len(blocks)
        variance += part
        fourth += part**2 / (len(blocks) - 1)
    return mean, math.sqrt(variance), variance**2 / fourth if fourth else len(effects[0]) - 1.0


class Raced(NamedTuple):
    """How a race ended; levels are numbers in cost order."""

    alive: list[int]
    good: list[int]
    """Admissible."""
    pairs: Pairs
    """Each pair's last bounds."""
    stop: int
    """Families seen."""
    at: Mapping[tuple[int, int], int]
    """Each pair's last look."""
    dropped: Mapping[int, int]
    """Level -> the look that dropped it."""


def race(
    errors: NDArray[np.float64],
    delta: Sequence[float],
    family: Sequence[int],
    looks: Sequence[int],
    alpha: float,
    planned: int | None = None,
) -> Raced:
    """Method 2.10; `planned` looks, where fewer can be taken."""
    levels = errors.shape[-1]
    at: dict[tuple[int, int], int] = {}
    gone: dict[int, int] = {}
    alive = list(range(levels))
    last: dict[tuple[int, int], tuple[float, float]] = {}
    good: list[int] = []
    for look in looks:
        rows = [t for t, own in enumerate(family) if own < look]
        alive = [i for i in alive if not np.isnan(errors[rows, :, i]).any()]  # not trained any more
        now = all_bounds(
            errors[rows],
            [delta[t] for t in rows],
            [family[t] for t in rows],
            alpha / (levels * (planned or len(looks))),
        )
        last |= {pair: now[pair] for pair in now if set(pair) <= set(alive)}
        at |= {pair: look for pair in now if set(pair) <= set(alive)}
        dropped = [i for i in alive if any(now[i, j][0] > 1 for j in alive if j != i)]
        if len(dropped) < len(alive):  # clipped effects need not add up: all might beat each other
            alive = [i for i in alive if i not in dropped]
            gone |= dict.fromkeys(dropped, look)
        good = [i for i in alive if all(now[i, j][1] < 1 for j in alive if j != i)]
        if alive and alive[0] in good:
            break
    return Raced(alive=alive, good=good, pairs=last, stop=look, at=at, dropped=gone)


def label(good: Sequence[int], pairs: Pairs, levels: int, textbook: set[int]) -> str:
    """Method 2.7, the row's label."""
    if good and set(good) <= textbook:
        return "confirmed"
    if set(good) & textbook and set(good) - textbook:
        return "tied"
    for rival in range(levels):
        beats = [rival != own and pairs[own, rival][0] > 0 and pairs[own, rival][1] >= 1 for own in textbook]
        if textbook and all(beats):
            return "contradicted"
    return "insufficient"


def state(low: float, high: float) -> str:
    """Method 2.8, a pair; bounds on how much worse the rival is."""
    if low > -1 and high < 1:
        return "tied"
    if low > 0 and high >= 1:
        return "better"
    if high < 0 and low <= -1:
        return "worse"
    return "unresolved"


def claim(kind: str, low: float, high: float, improve_low: float = math.nan) -> str:
    """Method 2.8, rows 1, 2 and 4 of its table."""
    found = state(low, high)
    if found == "unresolved":
        return "insufficient"
    if kind == "equal":
        return "confirmed" if found == "tied" else "contradicted"
    if found == "tied":
        return "tied"
    if found == "worse":
        return "contradicted"
    return "confirmed" if kind == "better" or improve_low > 0.5 else "insufficient"


def state_p(state: str, values: Sequence[float]) -> float:
    """Method 2.9: superiority p of a side that is better, TOST p of a tie."""
    found = [1.0] if state == "unresolved" else []
    if state in ("better", "tied"):
        at = 0.0 if state == "better" else -1.0
        found.append(float(stats.ttest_1samp(values, at, alternative="greater").pvalue))
    if state in ("worse", "tied"):
        at = 0.0 if state == "worse" else 1.0
        found.append(float(stats.ttest_1samp(values, at, alternative="less").pvalue))
    return float(max(found))


def step_up(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg (1995): p * C / rank, made monotone from the largest down."""
    order = sorted(range(len(p)), key=lambda i: p[i], reverse=True)
    found, least = [1.0] * len(p), 1.0
    for place, i in enumerate(order):
        least = min(least, p[i] * len(p) / (len(p) - place))
        found[i] = least
    return found


def holm(p: Sequence[float], alpha: float) -> list[bool]:
    """Holm (1979): the smallest p against alpha / C, the next against alpha / (C - 1), until one fails."""
    rejected = [False] * len(p)
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] > alpha / (len(p) - place):
            break
        rejected[i] = True
    return rejected
