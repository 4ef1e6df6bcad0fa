"""What the searches showed while levels were being tuned: pictures only, never evidence.

Validation scores of the retune phase, as regret: margins above the best validation score that any level
reached in the same task and block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from reports.evidence.question import Question
from reports.evidence.study_record import StudyRecord
from reports.statistics.compare import Array
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
    families: dict[str, str]
    """Task -> family, of the tasks that were searched on."""


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
        families={task: record.facts[task].family for task in sorted({row.slot.task for row in rows})},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One level's tuning curve: the regret of the best of the first k designed points, k = 0 .. K.

    k = 0 stands for the library default. Regrets are capped at 8 margins and come from validation data, hence
    they are optimistic.
    """

    median: Array
    """[K + 1] over families (means of their blocks)."""
    mean: Array
    """[K + 1] over families."""
    low: Array
    """[K + 1] ends of the band; NaN where `coverage` is 0."""
    high: Array
    coverage: float
    """Chance that the band holds the true median at one k: exact, whatever the distribution over families. 0
    with fewer than 6 of them, of which no two bound a median at 95 %."""


def best_so_far(trials: tuple[Trial, ...], families: Mapping[str, str]) -> Curve:
    """The tuning curve of one level with its exact band.

    The band runs between order statistics of the families: each lies above the true median with chance 1/2,
    so that the count of those above is binomial. The bands of Lourie and others (2024) bound the curve of one
    i.i.d. search by the Dvoretzky-Kiefer-Wolfowitz inequality; points of a Sobol design are not independent,
    and families are what a statement about new tasks rests on.

    Args:
        trials: of one level, on any tasks and blocks.
        families: task -> family.
    """
    places = {place: i for i, place in enumerate(sorted({(t.task, t.block) for t in trials}))}
    count = max((t.index for t in trials), default=0)
    regret = np.full((len(places), count + 1), np.inf)
    for t in trials:
        regret[places[t.task, t.block], t.index] = t.regret
    capped = np.minimum(regret, REGRET_SHOWN)
    capped[:, 1:] = np.minimum.accumulate(capped[:, 1:], axis=1)
    names = sorted({families[task] for task, _ in places})
    member = np.array([names.index(families[task]) for task, _ in places])
    units = np.sort([capped[member == f].mean(axis=0) for f in range(len(names))], axis=0)
    below = scipy.stats.binom(len(names), 0.5)
    inner = int(below.ppf(0.025))  # so many families may be cut off at either end
    coverage = 1 - 2 * float(below.cdf(inner - 1)) if inner > 0 else 0.0
    nothing = np.full(count + 1, np.nan)
    return Curve(
        median=np.median(units, axis=0),
        mean=units.mean(axis=0),
        low=units[inner - 1] if coverage else nothing,
        high=units[len(names) - inner] if coverage else nothing,
        coverage=coverage,
    )
