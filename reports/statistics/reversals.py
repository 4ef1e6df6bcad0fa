"""The challenge stage of an 'always' claim: the worst tasks again, on fresh blocks (method.md 2.8).

With 4 blocks no single task can be judged (t on 3 degrees of freedom), so the 3 worst tasks of the confirm
phase are run again with 16 fresh blocks, and only the fresh data are tested, Holm over 3.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from reports.statistics.compare import Array

WORST = 3
"""Tasks that are challenged."""

FRESH_BLOCKS = 16
"""Blocks of each, none of them used before."""


def worst_tasks(effects: Array, count: int = WORST) -> NDArray[np.int64]:
    """[..., count] numbers of the tasks on which A does worst against B, worst first.

    Args:
        effects: [..., T] mean block effect u of every task in the confirm phase (u > 0: A is better).
        count: how many; all of them where there are fewer.
    """
    order: NDArray[np.int64] = np.argsort(effects, axis=-1, kind="stable")[..., :count]
    return order


def reversed_tasks(fresh: Array, *, alpha: float, overlap: Array | None = None) -> NDArray[np.bool_]:
    """[..., C] which challenged tasks are proved reversed beyond the margin (u < -1), Holm over C.

    Args:
        fresh: [..., C, R] clipped block effects u on fresh blocks, at least two.
        alpha: of the whole stage, one-sided.
        overlap: [C] test items per training item where blocks are splits of one data set: the variance of
            their mean is then 1/R + overlap (Nadeau and Bengio). None: blocks are fresh data.
    """
    return _holm(reversal_p(fresh, overlap=overlap), alpha)


def reversal_p(fresh: Array, *, overlap: Array | None = None) -> Array:
    """[..., C] one-sided p that a challenged task is reversed beyond the margin, before Holm.

    Args:
        fresh: as `reversed_tasks`.
        overlap: as there.
    """
    blocks = fresh.shape[-1]
    if blocks < 2:
        raise ValueError(f"a challenge needs at least 2 fresh blocks of each task, not {blocks}")
    share = 1.0 / blocks + (0.0 if overlap is None else overlap)
    error = np.sqrt(fresh.var(axis=-1, ddof=1) * share)
    distance = fresh.mean(axis=-1) + 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(error > 0, distance / error, np.where(distance < 0, -np.inf, np.inf))
    return np.asarray(scipy.special.stdtr(blocks - 1, statistic), dtype=np.float64)


def _holm(p: Array, alpha: float) -> NDArray[np.bool_]:
    """Step-down over the last axis: the k-th smallest p (from 0) against alpha / (C - k), until one fails."""
    count = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    passed = np.take_along_axis(p, order, axis=-1) <= alpha / (count - np.arange(count))
    held = np.logical_and.accumulate(passed, axis=-1)
    rejected = np.zeros_like(held)
    np.put_along_axis(rejected, order, held, axis=-1)
    return rejected
