"""How fast a level reaches a fixed error: steps to a target, with those that never got there censored.

Method.md 2.12. Steps, not seconds: wall-clock comparisons need interleaved timings on an idle machine. A
target is what the reference recipe reaches in the median of its pilot seeds; curves are looked at where the
trainer looked, so that a time is known up to the distance of two looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from reports.evidence.study_record import StudyRecord
from reports.statistics.compare import Array
from trainers.evaluation import Evaluation

MARGIN = 0.2
"""Difference of log2 times that matters: about 15 % of a time."""

CENSORED = 2.0
"""A run that never got there counts as this many times its budget where times are averaged."""

RATIOS = 4.0
"""Performance profiles are drawn up to this ratio to the fastest level."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Times:
    """Steps to the target of every tuned confirm member of a row. Axes: T task, R block, L level, S seed."""

    levels: tuple[str, ...]
    """Cheapest first."""
    tasks: tuple[str, ...]
    steps: Array
    """[T, R, L, S] steps to the target; the whole budget where it was never reached."""
    reached: NDArray[np.bool_]
    """[T, R, L, S]."""


def targets(record: StudyRecord, regime: str) -> dict[str, float]:
    """Task -> validation error that its best pilot recipe reaches in the median of its seeds."""
    by_task: dict[str, list[float]] = {}
    best = {m.task: m.best_recipe for m in record.margins if m.regime == regime and m.accepted}
    for row in record.of("", regime):  # the pilot's
        s = row.slot
        if s.phase == "pilot" and best.get(s.task) == s.level:
            by_task.setdefault(s.task, []).append(row.validation_metric)
    return {task: float(np.median(errors)) for task, errors in by_task.items()}


def steps_to(row: Evaluation, target: float) -> tuple[int, bool]:
    """(steps, reached): the first look at or below `target`, or the budget of a run that never got there."""
    for point in row.curve:
        if point.validation_metric <= target:
            return point.step, True
    return max(row.steps, row.config.setting.steps), False


def times_of(
    record: StudyRecord, factor: str, regime: str, target: Mapping[str, float], levels: Sequence[str]
) -> Times:
    """Steps to the targets of one row, from the tuned confirm members, on the tasks where all levels ran.

    Raises:
        ValueError: a judged task without a target.
    """
    called = record.courses[factor, regime].called
    tasks = tuple(task for task, trained in called.items() if set(levels) <= set(trained))
    lacking = [task for task in tasks if task not in target]
    if lacking:
        raise ValueError(f"{factor}@{regime}: no target for {', '.join(lacking)}; the pilot sets them")
    shape = (len(tasks), record.budget.blocks, len(levels), record.budget.confirm_seeds)
    steps, reached = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for row in record.of(factor, regime):
        s = row.slot
        if s.phase != "confirm" or row.arm != "tuned" or s.level not in levels or s.task not in tasks:
            continue
        place = (tasks.index(s.task), s.block, list(levels).index(s.level), s.index)
        steps[place], reached[place] = steps_to(row, target[s.task])
    return Times(levels=tuple(levels), tasks=tuple(tasks), steps=steps, reached=reached)


def log_times(times: Times) -> Array:
    """[T, R, L] mean log2 steps over seeds, censored runs at twice their budget.

    To be compared by `compare.compare` with the margin 0.2 on every task: an effect of 1 is 15 % slower.
    """
    log_steps: Array = np.log2(np.where(times.reached, times.steps, CENSORED * times.steps)).mean(axis=-1)
    return log_steps


def profile(times: Times) -> tuple[Array, Array]:
    """Performance profile: for each level, the share of runs within a ratio of the fastest level there.

    Returns:
        Ratios [N] from 1 to 4, and shares [L, N]. A run that never got there is within no ratio.
    """
    cost = np.where(times.reached, times.steps, np.inf)
    fastest = cost.min(axis=2, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratio = np.where(np.isfinite(cost), cost / fastest, np.inf)
    ratios = np.linspace(1.0, RATIOS, 61)
    inside = ratio[..., None] <= ratios + 1e-12
    shares: Array = inside.mean(axis=(0, 1, 3))
    return ratios, shares


def profile_area(ratios: Array, shares: Array) -> Array:
    """[L] area under each profile, as a share of the whole: 1 where a level is always the fastest."""
    area: Array = np.trapezoid(shares, ratios, axis=-1) / (ratios[-1] - ratios[0])
    return area


def log_rank_p(times: Times, a: str, b: str) -> float:
    """Two-sided p of the log-rank test of two levels over all runs, censored ones as such.

    A check beside the paired comparison: it treats runs as independent, which runs of one task are not.
    Where all runs took equally long, or none got there, nothing speaks for a difference: 1.
    """
    first, second = (_sample(times, level) for level in (a, b))
    both = [times.levels.index(level) for level in (a, b)]
    steps, reached = times.steps[:, :, both], times.reached[:, :, both]
    if not reached.any() or (np.ptp(steps) == 0 and reached.all()):
        return 1.0
    return float(scipy.stats.logrank(first, second).pvalue)


def _sample(times: Times, level: str) -> scipy.stats.CensoredData:
    at = times.levels.index(level)
    steps, reached = times.steps[:, :, at].ravel(), times.reached[:, :, at].ravel()
    return scipy.stats.CensoredData(uncensored=steps[reached], right=steps[~reached])
