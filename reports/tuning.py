"""What the searches showed while levels were being tuned: pictures only, never evidence.

Validation scores of the retune phase, as regret: margins above the best validation score that any level
reached in the same task and block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.compare import Array
from reports.question import Question
from reports.record import StudyRecord
from trainers.evaluation import Evaluation

REGRET_SHOWN = 8.0
"""Margins of regret beyond which points are drawn at the edge."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One search point of one level."""

    task: str
    block: int
    index: int
    """0 is the library default."""
    learning_rate: float | None
    regret: float
    """Margins above the best of the (task, block)."""
    diverged: bool


@dataclass(frozen=True, kw_only=True)
class Search:
    """All search points of one row, level by level (cheapest first)."""

    factor: str
    regime: str
    trials: dict[str, tuple[Trial, ...]]


def search_of(record: StudyRecord, question: Question, regime: str) -> Search:
    """The retune rows of one question in one regime; levels without rows have no trials."""
    margins = {m.task: m.delta for m in record.margins if m.regime == regime and m.accepted}
    rows = [
        row
        for row in record.of(question.factor, regime)
        if row.slot.phase == "retune" and row.slot.task in margins and row.status != "failed"
    ]
    rows.sort(key=lambda row: (row.slot.task, row.slot.block, row.slot.index))
    best: dict[tuple[str, int], float] = {}
    for row in rows:
        place = (row.slot.task, row.slot.block)
        best[place] = min(best.get(place, np.inf), row.validation_metric)

    def trial(row: Evaluation) -> Trial:
        s = row.slot
        return Trial(
            task=s.task,
            block=s.block,
            index=s.index,
            learning_rate=row.config.numbers.get("learning_rate"),
            regret=(row.validation_metric - best[(s.task, s.block)]) / margins[s.task],
            diverged=row.status == "diverged",
        )

    return Search(
        factor=question.factor,
        regime=regime,
        trials={
            level: tuple(trial(row) for row in rows if row.slot.level == level) for level in question.by_cost
        },
    )


def best_so_far(trials: tuple[Trial, ...]) -> tuple[float, Array]:
    """The regret of the library default, and [K] of the best of the first 1..K designed points.

    Means over tasks and blocks of regrets capped at 8 margins; validation scores, hence optimistic.
    """
    places = {place: i for i, place in enumerate(sorted({(t.task, t.block) for t in trials}))}
    count = max((t.index for t in trials), default=0)
    regret = np.full((len(places), count + 1), np.inf)
    for t in trials:
        regret[places[t.task, t.block], t.index] = t.regret
    capped = np.minimum(regret, REGRET_SHOWN)
    curve: Array = np.minimum.accumulate(capped[:, 1:], axis=1).mean(axis=0)
    return float(capped[:, 0].mean()) if len(places) else float("nan"), curve
