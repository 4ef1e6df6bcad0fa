"""Initializer by activation: the row of initializers, split by the activation of its tasks.

Exploratory: tasks were shared out over backgrounds to keep an answer from hanging on one of them, not to
compare pairings, so that each activation has a part of the families, and nothing here is a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.evidence.arrays import Evidence
from reports.evidence.study_record import StudyRecord
from reports.pages.textbook_tables import PAIRINGS
from reports.statistics.compare import Array, Unit
from reports.verdicts.model import EQUAL

ROW = "initializer"


@dataclass(frozen=True, kw_only=True)
class InitializerCell:
    """What was measured beside one activation in one regime."""

    regime: str
    least: str
    """The initializer of least mean error; several, with equals signs, where that is the same."""
    against: str
    """The textbook's pairing (the one of least error, where it names several); where that is `least` itself,
    or was not compared, the next best."""
    paired: bool
    """`against` is the textbook's pairing."""
    margins: float
    """Error of `least` minus that of `against`, mean over families in margins, clipped at 4."""
    interval: tuple[float, float]
    """95 %, for two levels named beforehand: `least` was not, so that it is too kind to it."""
    over: Unit
    families: int
    levels: tuple[str, ...]
    """All initializers compared, cheapest first."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """One activation."""

    activation: str
    textbook: tuple[str, ...]
    """Initializers that the textbook pairs with it; () where it has no word on it."""
    cells: tuple[InitializerCell, ...]
    """One for each regime that has tasks with it; () where the study covers it nowhere."""


def pairings(record: StudyRecord, rows: Sequence[Evidence]) -> tuple[Pairing, ...]:
    """The textbook's activations in its order, then others; () where no row of initializers was judged.

    Args:
        record: says which activation a task's networks had.
        rows: the evidence of all rows.
    """
    cells: dict[str, list[InitializerCell]] = {}
    judged = rows_of(ROW, rows)
    for evidence in judged:
        shared = evidence.of(*evidence.levels)
        used = _activations(record, evidence.regime)
        for activation in sorted({used[task] for task in shared.tasks}):
            uses_activation = np.array([used[task] == activation for task in shared.tasks])
            cells.setdefault(activation, []).append(_beside(activation, shared.on(uses_activation)))
    if not judged:
        return ()
    names = (*PAIRINGS, *sorted(set(cells) - set(PAIRINGS)))
    return tuple(
        Pairing(activation=name, textbook=PAIRINGS.get(name, ()), cells=tuple(cells.get(name, ())))
        for name in names
    )


def rows_of(factor: str, rows: Sequence[Evidence]) -> list[Evidence]:
    """The rows that compare levels of the factor itself, not combinations that bear its name."""
    return [
        row
        for row in rows
        if row.question.factor == factor
        and all(row.question.change(level).levels.get(factor) == level for level in row.levels)
    ]


def least_first(mean: Array) -> list[int]:
    """Levels by mean error, least first, from effects [L, L] of every pair."""
    return [int(level) for level in np.argsort(mean.mean(axis=1), kind="stable")]


def _apart(mean: Array, a: int, b: int) -> bool:
    return a != b and abs(float(mean[a, b])) >= EQUAL


def _activations(record: StudyRecord, regime: str) -> dict[str, str]:
    """Task -> the activation of all its networks in the row."""
    return {
        row.slot.task: row.config.levels["activation"]
        for row in record.of(ROW, regime)
        if row.slot.phase == "confirm"
    }


def _beside(activation: str, evidence: Evidence) -> InitializerCell:
    compared = evidence.compared(looks=1)
    order = least_first(compared.mean)
    named = [i for i in order if evidence.levels[i] in PAIRINGS.get(activation, ())]
    least = order[0]
    paired = bool(named) and least not in named
    against = named[0] if paired else order[1]
    return InitializerCell(
        regime=evidence.regime,
        least=" = ".join(evidence.levels[i] for i in order if not _apart(compared.mean, least, i)),
        against=evidence.levels[against],
        paired=paired,
        margins=float(compared.mean[least, against]),
        interval=(
            float(compared.interval_low[least, against]),
            float(compared.interval_high[least, against]),
        ),
        over=evidence.over,
        families=len(evidence.families),
        levels=evidence.levels,
    )
