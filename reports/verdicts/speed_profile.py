"""One row's answer to 'which level gets there soonest?', in steps: a table and a picture, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.evidence.arrays import Evidence
from reports.evidence.study_record import StudyRecord
from reports.statistics.compare import Array, compare
from reports.verdicts.time_to_target import Times, log_rank_p, log_times, profile, profile_area, times_of


@dataclass(frozen=True, kw_only=True)
class LevelSpeed:
    """How soon one level gets to the targets."""

    level: str
    reached: float
    """Share of its runs that got there."""
    median: float | None
    """Steps in the median run; None where less than half of the runs got there."""
    area: float
    """Area under its performance profile, 0 to 1."""
    ratio: tuple[float, float, float] | None
    """Steps as a multiple of those of the level it is set beside, with the 95 % interval; None for that
    level itself, and where nothing bounds it."""
    log_rank: float | None
    """Two-sided p of the log-rank test against the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeedProfile:
    """One row."""

    levels: tuple[LevelSpeed, ...]
    ratios: Array
    shares: Array
    """[L, N] performance profiles over `ratios`."""


def pace_of(
    record: StudyRecord, evidence: Evidence, level: str, targets: Mapping[str, float]
) -> SpeedProfile | None:
    """Times to the pilot's targets, on the tasks where all levels were trained, beside those of `level`.

    None where there are fewer than two families of them, where one has no target, or a level lacks some runs.
    """
    shared = evidence.of(*evidence.levels)
    if len(shared.families) < 2 or any(task not in targets for task in evidence.tasks):
        return None
    times = times_of(record, evidence.question.factor, evidence.regime, targets, evidence.levels)
    if not np.isfinite(times.steps).all():
        return None
    ratios, shares = profile(times)
    area = profile_area(ratios, shares)
    slower = compare(
        log_times(times),
        np.ones(len(times.tasks)),
        shared.family,
        alpha=evidence.question.alpha,
        over=shared.over,
        overlap=shared.overlap,
    )
    base = times.levels.index(level) if level in times.levels else 0
    profiles = []
    for i, name in enumerate(times.levels):
        ends = [float(part[i, base]) for part in (slower.mean, slower.interval_low, slower.interval_high)]
        bounded = i != base and bool(np.isfinite(ends).all())
        profiles.append(
            LevelSpeed(
                level=name,
                reached=float(times.reached[:, :, i].mean()),
                median=_median(times, i),
                area=float(area[i]),
                ratio=(2 ** ends[0], 2 ** ends[1], 2 ** ends[2]) if bounded else None,
                log_rank=None if i == base else log_rank_p(times, name, times.levels[base]),
            )
        )
    return SpeedProfile(levels=tuple(profiles), ratios=ratios, shares=shares)


def _median(times: Times, level: int) -> float | None:
    steps = np.where(times.reached, times.steps, np.inf)[:, :, level]
    median = float(np.quantile(steps, 0.5, method="higher"))
    return median if np.isfinite(median) else None
