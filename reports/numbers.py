"""The numbers a user types in: what tuning chose for the recommended level, and what tuning was worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reports.compare import CLIP, family_effects
from reports.evidence import Evidence
from reports.record import StudyRecord
from search_spaces.config import SETTING_LIMITS
from search_spaces.space import LOG_SETTINGS, open_ranges


@dataclass(frozen=True, kw_only=True)
class TunedNumber:
    """One tuned number or setting over the tasks and blocks that share an optimizer."""

    name: str
    optimizer: str
    value: float
    """Median of the chosen values; geometric where the range is logarithmic."""
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    cells: int
    tunability: float
    """Mean over families: error at the library defaults minus tuned error, in margins, clipped at +-4."""


def tuned_numbers(record: StudyRecord, evidence: Evidence, level: str) -> tuple[TunedNumber, ...]:
    """The tuned numbers of one level, by optimizer and name; none where the level was not compared.

    Same-named numbers of two optimizers are different numbers, so they are never pooled.
    """
    if level not in evidence.levels:
        return ()
    chosen = {}
    for row in record.evaluations:
        s = row.slot
        here = (s.factor, s.regime, s.level) == (evidence.question.factor, evidence.regime, level)
        if here and s.phase == "confirm" and row.arm == "tuned":
            chosen[(s.task, s.block)] = row.config
    tunability = _tunability(evidence, level)
    numbers = []
    for optimizer in sorted({config.levels.get("optimizer", "") for config in chosen.values()}):
        cells = {p: c for p, c in chosen.items() if c.levels.get("optimizer", "") == optimizer}
        tasks = {task for task, _ in cells}
        opened = {name for config in cells.values() for name in (*config.numbers, *SETTING_LIMITS)}
        for name in sorted(opened & set(record.nuisance)):
            having = [config for config in cells.values() if name in config.numbers or name in SETTING_LIMITS]
            if name in SETTING_LIMITS:
                log = name in LOG_SETTINGS
                values = np.sort([float(getattr(config.setting, name)) for config in having])
            else:
                log = open_ranges(having[0].levels)[name].log
                values = np.sort([config.numbers[name] for config in having])
            quartiles = np.quantile(np.log(values) if log else values, [0.25, 0.5, 0.75])
            low, value, high = (np.exp(quartiles) if log else quartiles).tolist()
            numbers.append(
                TunedNumber(
                    name=name,
                    optimizer=optimizer,
                    value=value,
                    low=low,
                    high=high,
                    cells=len(having),
                    tunability=tunability(tasks),
                )
            )
    return tuple(numbers)


def _tunability(evidence: Evidence, level: str) -> Callable[[set[str]], float]:
    """Tasks -> mean over their families of (untuned - tuned) / margin for `level`."""
    i = evidence.levels.index(level)
    gain = (evidence.untuned[:, :, i] - evidence.tuned[:, :, i]) / evidence.delta[:, None]
    per_task = np.clip(gain, -CLIP, CLIP).mean(axis=1)

    def mean(tasks: set[str]) -> float:
        keep = np.array([task in tasks for task in evidence.tasks])
        _, family = np.unique(evidence.family[keep], return_inverse=True)
        return float(family_effects(per_task[keep][:, None, None], family).mean())

    return mean
