"""How often one level beats another, and other ways to say by how much (method.md 2.6).

The verdict rests on the paired t over families; everything here is shown beside it, and disagreement is
printed. Units are task families throughout: seeds and blocks are never resampled on their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from reports.statistics.compare import Array, sign_flip_p

RELIABLE = 0.75
"""P(improve) at which an improvement is called reliable (Bouthillier and others 2021)."""

DRAWS = 2000
"""Bootstrap resamples: the ends of a 95 % interval move by about 2 % of its width."""


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """P(improve): the chance that a block of a family shows A better than B; a tie counts half."""

    share: float
    low: float
    high: float
    """95 % interval, families resampled."""

    @property
    def reliable(self) -> bool:
        return self.share >= RELIABLE


@dataclass(frozen=True, kw_only=True)
class Robust:
    """One effect over families, estimated in other ways; margins."""

    mean: float
    median: float
    iqm: float
    """Mean of the middle half of the families."""
    bca: tuple[float, float]
    """95 % bias-corrected and accelerated bootstrap interval of the mean."""
    sign_flip: float
    """Two-sided p of the sign-flip test."""


def shares(effects: Array, family: NDArray[np.int64]) -> Array:
    """[..., F] share of blocks of each family in which A beats B.

    Args:
        effects: [..., T, R] block effects u (u > 0: A is better).
        family: [T] numbers of the tasks' families, 0..F-1.
    """
    wins = ((effects > 0) + 0.5 * (effects == 0)).mean(axis=-1)
    return np.stack([wins[..., family == f].mean(axis=-1) for f in range(int(family.max()) + 1)], axis=-1)


def improvement(shares: Array, *, seed: int = 0) -> Improvement:
    """Mean over families of `shares` [F] and its cluster bootstrap."""
    low, high = improve_interval(shares, seed=seed)
    return Improvement(share=float(shares.mean()), low=float(low), high=float(high))


def improve_interval(shares: Array, *, seed: int = 0) -> tuple[Array, Array]:
    """Ends [...] of the 95 % percentile interval, resampling the families of `shares` [..., F].

    All studies of a stack are resampled by the same draws.
    """
    low, high = np.quantile(shares @ _weights(shares.shape[-1], seed).T, [0.025, 0.975], axis=-1)
    return low, high


@lru_cache(maxsize=64)
def _weights(families: int, seed: int) -> Array:
    """[draws, F]: resampling families is weighing each by how often it is drawn."""
    numbers = np.random.Generator(np.random.Philox(seed))
    drawn: Array = numbers.multinomial(families, np.full(families, 1 / families), size=DRAWS) / families
    drawn.setflags(write=False)
    return drawn


def robust(units: Array, *, seed: int = 0) -> Robust:
    """Other estimates of the mean of family effects `units` [F], at least two."""
    if len(units) < 2:
        raise ValueError("robustness over families needs at least two of them")
    return Robust(
        mean=float(units.mean()),
        median=float(np.median(units)),
        iqm=float(scipy.stats.trim_mean(units, 0.25)),
        bca=_bca(units, seed),
        sign_flip=sign_flip_p(units),
    )


def _bca(units: Array, seed: int) -> tuple[float, float]:
    if np.ptp(units) == 0:
        return float(units[0]), float(units[0])
    numbers = np.random.Generator(np.random.Philox(seed))
    result = scipy.stats.bootstrap((units,), np.mean, n_resamples=DRAWS, method="BCa", rng=numbers)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
