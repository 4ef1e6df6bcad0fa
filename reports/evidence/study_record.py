"""Everything a report may know of a study, as plain data: no database, no engine behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import TypeVar, cast

from reports.evidence.budget import Budget, Margin, TaskFacts
from reports.evidence.claim import Claim
from reports.evidence.question import Question
from reports.evidence.race_progress import RaceProgress, race_progress_of
from search_spaces.overrides import Overrides
from trainers.evaluation import Evaluation

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class ExternalRecord:
    """The external check of one study, once its verdicts were frozen (`verdicts.external_check`)."""

    verdicts_hash: str
    """Of the frozen verdicts and recipes; recorded before the first external member."""
    plan_hash: str
    """Of its tasks and margins; '' until its pilot is complete."""
    families: int
    """Task families requested."""
    verdicts: Mapping[tuple[str, str], str]
    """(factor, regime) -> the level that was recommended then."""
    recipes: Mapping[str, Mapping[str, Overrides]]
    """Regime -> arm -> its levels, and the numbers that are not tuned."""
    tasks: Mapping[str, tuple[str, ...]]
    """Regime -> the tasks, in the order they were planned."""
    margins: tuple[Margin, ...]
    planned: Mapping[str, int]
    """Phase -> members planned, its pilots left out."""
    evaluations: tuple[Evaluation, ...]
    """The same."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a study goes on with: its parent as it was then, and whether going on was planned."""

    parent: str
    protocol_hash: str
    """The parent's,"""
    plan_hash: str
    """and its plan's."""
    studies: tuple[str, ...]
    """All whose evaluations it takes over, the first of them first, the parent last."""
    unregistered: tuple[str, ...]
    """What it does that the parent had not registered; () where the study is evidence."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One study as its ledger has it."""

    name: str
    title: str
    questions: tuple[Question, ...]
    regimes: Mapping[str, Mapping[str, object]]
    """Regime -> its complete setting (depth, width, ...)."""
    fixed: Mapping[str, str]
    """Factor -> level held for everyone."""
    background: Mapping[str, Mapping[str, str]]
    """Task -> factor -> level, where the background differs between tasks."""
    nuisance: Mapping[str, tuple[float, float]]
    """Number -> the limits it was searched in (the widest over levels)."""
    tasks: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Factor -> regime -> the tasks judged, in the order they were planned."""
    facts: Mapping[str, TaskFacts]
    margins: tuple[Margin, ...]
    budget: Budget
    sampler: str
    planned: Mapping[str, int]
    """Phase -> members planned; while rows race, those that will be trained if no other level is dropped."""
    evaluations: tuple[Evaluation, ...]
    plan_hash: str
    protocol_hash: str
    revision: int
    """1 for the first plan ever started under this name."""
    background_in: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    """Regime -> task -> factor -> level, where the background differs between regimes too."""
    abandoned_plans: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = "cpu"
    external: ExternalRecord | None = None
    """None where the study has no external check, or has not come to it."""

    claims: tuple[Claim, ...] = ()
    """What texts say, as it was fixed before training."""
    fresh: tuple[Evaluation, ...] = ()
    """Evaluations of the challenge stage, on blocks beyond the plan's: they say whether an 'always' claim
    stands (`reports.claims.challenge`), and enter nothing else."""
    core_seconds: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    """(factor, regime, level) -> seconds of training on one core, challenges left out; empty where nobody
    asks."""

    extends: Extension | None = None
    """None for a study of its own."""
    given_up: tuple[str, ...] = ()
    """Where and why packs were given up whose members are missing: a line each."""

    @property
    def answered(self) -> tuple[Question, ...]:
        """The questions that get an answer: all but the controls."""
        return tuple(question for question in self.questions if not question.control)

    def of(self, factor: str, regime: str) -> tuple[Evaluation, ...]:
        """The evaluations of one question in one regime, in their order."""
        return self._by_row.get((factor, regime), ())

    def judged(self, factor: str, regime: str) -> tuple[str, ...]:
        """The tasks that one row's race has called for, in planned order."""
        return tuple(self.courses[factor, regime].called)

    @cached_property
    def courses(self) -> dict[tuple[str, str], RaceProgress]:
        """(factor, regime) -> the course of its race, from the confirm rows."""
        courses = {}
        for question in self.questions:
            for regime in question.regimes:
                tasks = self.tasks[question.factor][regime]
                courses[question.factor, regime] = race_progress_of(
                    question,
                    tasks=tasks,
                    families=[self.facts[task].family for task in tasks],
                    margins={m.task: m for m in self.margins if m.regime == regime and m.accepted},
                    budget=self.budget,
                    confirmed=(r for r in self.of(question.factor, regime) if r.slot.phase == "confirm"),
                )
        return courses

    @cached_property
    def _by_row(self) -> dict[tuple[str, str], tuple[Evaluation, ...]]:
        """Built once: a page reads every level of every row, and there may be 100,000 evaluations."""
        by_row: dict[tuple[str, str], list[Evaluation]] = {}
        for row in self.evaluations:
            by_row.setdefault((row.slot.factor, row.slot.regime), []).append(row)
        return {place: tuple(rows) for place, rows in by_row.items()}


def once(function: Callable[[StudyRecord], Found]) -> Callable[[StudyRecord], Found]:
    """Caches the result of a function of a record on that record.

    A page needs the fairness checks ten times, over up to 100,000 evaluations. Exceptions are not cached.
    """
    name = f"{function.__module__}.{function.__qualname__}"

    @wraps(function)
    def kept(record: StudyRecord) -> Found:
        known = vars(record)
        if name not in known:
            known[name] = function(record)
        return cast(Found, known[name])

    return kept
