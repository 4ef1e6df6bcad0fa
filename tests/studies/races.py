"""A small study of ten task families that looks at its rows twice, with made-up results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from reports.evidence.study_record import StudyRecord
from studies.comparison.protocol import ComparisonProtocol, comparison_protocol
from studies.comparison.record import study_record
from studies.comparison.workload import ComparisonWorkload
from studies.execution.scheduler import Scheduler
from studies.ledger.ledger import Ledger
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from tests.studies.planted import outcome, started, stripes
from trainers.evaluation import CurvePoint, Evaluation
from trainers.member import Member
from trainers.randomness import stream
from trainers.tasks.task import TaskBook

FAMILIES = 10
LEVELS = ("torch_default", "glorot_normal", "he_normal")
"""Cheapest first."""
BOOK: TaskBook = {name: cache(lambda name=name: stripes(name)) for name in (f"t{i}" for i in range(12))}
RACING: Mapping[str, Any] = {
    "study": "racing",
    "questions": [{"factor": "initializer", "levels": list(LEVELS)}],
    "regimes": {"shallow": {"depth": 1}, "deep": {"depth": 3}},
    "setting": {"width": 4, "steps": 4, "batch_size": 8, "train_size": 32, "evaluations": 2},
    "nuisance": ["learning_rate"],
    "tasks": list(BOOK),
    "budget": {"families": FAMILIES, "looks": [8], "blocks": 2, "trials": 2, "promoted": 1},
}

Lead = Callable[[str, str, int], float]
"""(regime, level, number of the task) -> by how many margins the level's error is above the others'."""


def racing(**changes: Any) -> ResolvedStudy:
    """The study with some keys replaced."""
    return parse({**RACING, **changes}, file="racing.yaml")


def fixed(spec: ResolvedStudy | None = None) -> ComparisonProtocol:
    """Its protocol."""
    return comparison_protocol(spec or racing(), BOOK)


def hopeless(regime: str, level: str, task: int) -> float:
    """he_normal is far behind; the cheapest is as good as the other in the regime 'shallow'.

    On every second task of the regime 'deep' it leads by two margins, on the others it lies two behind.
    """
    if level == "he_normal":
        return 10.0
    if level == "glorot_normal":
        return 0.0
    return 0.1 if regime == "shallow" else (-2.0 if task % 2 else 2.0)


def made(lead: Lead) -> Callable[[Member], Evaluation]:
    """Results with these leads, in margins of 0.02, and a little noise keyed by the slot."""

    def make(member: Member) -> Evaluation:
        slot = member.slot
        if slot.phase == "pilot":
            return outcome(member, error=0.1)  # a margin of 1 / 30: two of the 60 test items
        noise = 0.001 * float(stream("race", slot.id).standard_normal())
        away = lead(slot.regime, slot.level, int(slot.task[1:])) / 30
        curve = tuple(
            CurvePoint(
                step=k + 1,
                train_loss=float(loss),
                validation_loss=0.2,
                validation_metric=0.2,
                learning_rate=0.1,
            )
            for k, loss in enumerate(stream("curve", slot.id).random(3))
        )
        return replace(outcome(member, error=0.3 + away + noise), curve=curve)

    return make


def agenda_of(ledger: Ledger, protocol: ComparisonProtocol) -> Scheduler:
    """An agenda of that study on that ledger."""
    return Scheduler(ComparisonWorkload(protocol, ledger, BOOK, flops_per_second=2e9), ledger, BOOK)


def begun(workspace: Path, protocol: ComparisonProtocol | None = None) -> tuple[Ledger, Scheduler]:
    """Ledger and agenda, new or taken up again."""
    ledger, own = started(workspace, protocol or fixed())
    return ledger, agenda_of(ledger, own)


def record_in(ledger: Ledger) -> StudyRecord:
    """The study as reports see it."""
    return study_record(ledger, "racing")


def trained_on(record: StudyRecord, regime: str) -> dict[str, set[str]]:
    """Task -> levels with a confirm member."""
    found: dict[str, set[str]] = {}
    for row in record.of("initializer", regime):
        if row.slot.phase == "confirm":
            found.setdefault(row.slot.task, set()).add(row.slot.level)
    return found
