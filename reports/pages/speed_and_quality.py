"""Optimizers by speed and quality: a row of optimizers in stars. Exploratory, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.evidence.arrays import Evidence
from reports.evidence.study_record import StudyRecord
from reports.pages.initializer_by_activation import least_first, rows_of
from reports.pages.textbook_tables import STARS, TextbookRating
from reports.verdicts.speed_profile import LevelSpeed, pace_of

ROW = "optimizer"

SPEED = (1.25, 2.0)
"""Steps to the target as a multiple of the soonest level's: below the first three stars, below the second
two, else one."""
QUALITY = (1.0, 2.0)
"""Error above the least, in margins: the same."""

RULE = (
    f"Speed: ★★★ below {SPEED[0]:g} times the steps of the level that gets to the target soonest, ★★ below "
    f"{SPEED[1]:g} times, else ★. Quality: ★★★ less than {QUALITY[0]:g} margin above the least mean test "
    f"error, ★★ less than {QUALITY[1]:g} margins, else ★"
)
"""In words, for pages."""


@dataclass(frozen=True, kw_only=True)
class OptimizerResult:
    """One optimizer in one regime."""

    regime: str
    speed: str
    """Stars; 'not measured' where times have no target or no interval."""
    quality: str
    """Stars."""
    ratio: tuple[float, float, float] | None
    """Steps as a multiple of the soonest level's, with the 95 % interval; None for that level itself, and
    where speed was not measured."""
    reached: float | None
    """Share of its runs that got to the target; None where speed was not measured."""
    margins: float
    """Test error above that of the level of least mean error, in margins."""
    interval: tuple[float, float]
    """95 %, as if that level had been named beforehand."""
    best: str
    """That level."""
    families: int


@dataclass(frozen=True, kw_only=True)
class GradedOptimizer:
    """One optimizer."""

    level: str
    textbook: TextbookRating | None
    results: tuple[OptimizerResult, ...]
    """One for each regime; () where the study does not cover it."""


def graded(
    record: StudyRecord, rows: Sequence[Evidence], targets: Mapping[str, Mapping[str, float]]
) -> tuple[GradedOptimizer, ...]:
    """The textbook's optimizers in its order, then others; () where no row of optimizers was judged.

    Args:
        record: has the learning curves.
        rows: the evidence of all rows.
        targets: regime -> task -> validation error to get to (`time_to_target.targets`).
    """
    results: dict[str, list[OptimizerResult]] = {}
    judged = rows_of(ROW, rows)
    for evidence in judged:
        for level, one in _measured(record, evidence, targets[evidence.regime]).items():
            results.setdefault(level, []).append(one)
    if not judged:
        return ()
    names = (*STARS, *(level for level in results if level not in STARS))
    return tuple(
        GradedOptimizer(level=name, textbook=STARS.get(name), results=tuple(results.get(name, ())))
        for name in names
    )


def stars(value: float, limits: tuple[float, float]) -> str:
    """Three below the first limit, two below the second, else one."""
    return "★" * (3 - sum(value >= limit for limit in limits))


def _measured(
    record: StudyRecord, evidence: Evidence, targets: Mapping[str, float]
) -> dict[str, OptimizerResult]:
    shared = evidence.of(*evidence.levels)
    compared = shared.compared(looks=1)
    best = least_first(compared.mean)[0]
    soonest, times = _times(record, evidence, targets)
    results = {}
    for i, level in enumerate(shared.levels):
        margins = float(compared.mean[i, best])
        time = times.get(level)
        ratio = 1.0 if level == soonest else time.ratio[0] if time and time.ratio else None
        results[level] = OptimizerResult(
            regime=evidence.regime,
            speed="not measured" if ratio is None else stars(ratio, SPEED),
            quality=stars(margins, QUALITY),
            ratio=time.ratio if time else None,
            reached=time.reached if time else None,
            margins=margins,
            interval=(float(compared.interval_low[i, best]), float(compared.interval_high[i, best])),
            best=shared.levels[best],
            families=len(shared.families),
        )
    return results


def _times(
    record: StudyRecord, evidence: Evidence, targets: Mapping[str, float]
) -> tuple[str, dict[str, LevelSpeed]]:
    """The level that gets there soonest, and the steps of all as multiples of its own; {} if not measured."""
    first = evidence.levels[0]
    pace = pace_of(record, evidence, first, targets)
    ratios = {level.level: level.ratio[0] for level in pace.levels if level.ratio} if pace else {}
    if len(ratios) < len(evidence.levels) - 1:
        return "", {}
    soonest = min(evidence.levels, key=lambda level: ratios.get(level, 1.0))
    again = pace_of(record, evidence, soonest, targets)
    return soonest, {level.level: level for level in again.levels} if again else {}
