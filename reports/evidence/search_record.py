"""Everything a page may know of a search study, as plain data: no database, no engine behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.evidence.budget import TaskFacts
from search_spaces.factor import Range
from search_spaces.overrides import Value
from trainers.evaluation import Evaluation

EXPLORATORY = "exploratory: chosen on validation data; no test item was read; no verdict follows"
"""The note on everything that comes from a search."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One parameter of a joint space: a choice between values, or a number between limits."""

    name: str
    values: tuple[Value, ...] = ()
    """Of a choice, in the order listed; () of a number."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    """Searched evenly in the logarithm."""
    whole: bool = False
    where: tuple[str, ...] = ()
    """The choices that open it, as 'factor=level'; () where it is always open."""

    def unit(self, value: Value) -> float:
        """The value scaled to 0..1: by its place among the values, or within the limits."""
        if self.values:
            return (self.values.index(value) + 0.5) / len(self.values)
        return self.span.unit(float(value))

    @property
    def span(self) -> Range:
        """The limits of a number."""
        return Range(
            name=self.name,
            low=self.low,
            high=self.high,
            default=self.low,
            log=self.log,
            whole=self.whole,
            meaning="",
        )


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """One search study as its ledger tells it."""

    name: str
    title: str
    facts: TaskFacts
    """The one task it searches on."""
    setting: Mapping[str, object]
    """The complete setting, before a trial's own choices."""
    fixed: Mapping[str, str]
    """Factor or number -> what is held in every trial."""
    space: tuple[Dimension, ...]
    sampler: str
    pruner: str
    generation: int
    """Trials in one generation; the next generation waits for all of their results."""
    rungs: tuple[int, ...]
    """Looks at which a trial may be stopped; () without a pruner."""
    planned: int
    """Trials."""
    evaluations: tuple[Evaluation, ...]
    """By trial number."""
    points: tuple[Mapping[str, Value], ...]
    """Of each evaluation: parameter -> value, for the parameters that are open there."""
    importances: tuple[tuple[str, float], ...]
    """Parameter -> share of the importance (PED-ANOVA), largest first; () with too few trials."""
    protocol_hash: str
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = "cpu"
    given_up: tuple[str, ...] = ()
    """Where and why packs were given up whose trials are missing: a line each."""

    @property
    def finished(self) -> tuple[Evaluation, ...]:
        """Trials trained to their end: the only ones that can be the best."""
        return tuple(row for row in self.evaluations if row.status == "finished")

    @property
    def best(self) -> Evaluation | None:
        """The trial with the least validation metric, then loss, then number; None before one finished."""
        return min(
            self.finished,
            key=lambda row: (row.validation_metric, row.validation_loss, row.slot.index),
            default=None,
        )

    @property
    def complete(self) -> bool:
        """Every planned trial is there."""
        return len(self.evaluations) >= self.planned

    def count(self, status: str) -> int:
        """Trials of one status."""
        return sum(row.status == status for row in self.evaluations)
