"""V8, V9 and V15: whole studies through the real plan, agenda, ledger and guards, with a simulated trainer.

Nothing is trained: a member's result is drawn from a bowl over the learning rate. Everything around it is
what a real study runs. Then something is done to the study that must not pass, and it is asked for verdicts.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from reports.evidence.arrays import from_rows
from reports.evidence.fairness_checks import EvidenceError, evidence_status
from reports.evidence.study_record import StudyRecord
from reports.verdicts.verdict import verdicts
from studies.comparison.protocol import comparison_protocol
from studies.comparison.record import study_record
from studies.comparison.workload import ComparisonWorkload
from studies.execution.scheduler import Scheduler
from studies.ledger.ledger import Ledger, StudyRow
from studies.site import Site
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from trainers.evaluation import CurvePoint, Evaluation
from trainers.member import Member
from trainers.randomness import stream
from trainers.tasks.task import Task, TaskBook

LEVELS = ("he_normal", "glorot_normal")
SPEED = 2e9
"""Floating-point operations per second that size the packs; no pack is trained."""

TRIALS = {"sobol": 4, "tpe": 12}
"""Search points by sampler: an adaptive one adapts after its first generations only."""

Counts = dict[str, tuple[int, int]]


def study_spec(name: str, sampler: str) -> ResolvedStudy:
    """A small study of 8 task families: one question, two levels."""
    return parse(
        {
            "study": name,
            "questions": [{"factor": "initializer", "levels": list(LEVELS)}],
            "regimes": {"shallow": {"depth": 1}},
            "setting": {"width": 4, "steps": 4, "batch_size": 8, "train_size": 32, "evaluations": 2},
            "tasks": list(BOOK),
            "budget": {"families": 8, "blocks": 2, "trials": TRIALS[sampler], "promoted": 2},
            "sampler": sampler,
        },
        file="simulated",
    )


def _task(name: str) -> Task:
    numbers = stream("simulated", name)
    x = numbers.standard_normal((120, 3), dtype=np.float32)
    return Task.from_arrays(x, x[:, 0] > 0, kind="classification", name=name, n_test=40)


BOOK: TaskBook = {name: cache(lambda name=name: _task(name)) for name in (f"planted_{i}" for i in range(8))}


def simulated(member: Member) -> Evaluation:
    """A made-up training: error by distance from the best learning rate, noise keyed by the slot."""
    numbers = stream("simulated", member.slot.id)
    away = np.log10(member.config.numbers.get("learning_rate", 1e-2)) + 2
    error = float(0.1 + 0.02 * away**2 + 0.005 * abs(numbers.standard_normal()))
    curve = tuple(
        CurvePoint(
            step=k + 1,
            train_loss=float(numbers.random()),
            validation_loss=error,
            validation_metric=error,
            learning_rate=1e-2,
        )
        for k in range(4)
    )
    return Evaluation(
        slot=member.slot,
        arm=member.arm,
        config=member.config,
        status="finished",
        validation_metric=error,
        validation_loss=error,
        best_step=4,
        test={"best_validation": error, "last": error} if member.reads_test else None,
        curve=curve,
        steps=4,
    )


@lru_cache(maxsize=64)
def whole_study(name: str, sampler: str = "sobol") -> StudyRecord:
    """One complete simulated study, read back from its ledger."""
    fixed = comparison_protocol(study_spec(name, sampler), BOOK)
    with tempfile.TemporaryDirectory() as folder, _ledger(Path(folder)) as ledger:
        ledger.start_study(
            StudyRow(
                name=name,
                title=name,
                protocol_hash=fixed.hash,
                protocol=fixed.plain(),
                terms={"flops_per_second": SPEED, "hardware": "simulated", "versions": {}},
                started_ms=0,
            )
        )
        agenda = Scheduler(ComparisonWorkload(fixed, ledger, BOOK, flops_per_second=SPEED), ledger, BOOK)
        while (pack := agenda.next_pack()) is not None:
            agenda.commit(pack, [simulated(m) for m in pack.members], seconds=0.0, worker="simulated")
        return study_record(ledger, name)


def _ledger(folder: Path) -> Ledger:
    """A file there, whatever site the user has: simulated studies are nobody's results."""
    return Ledger.open(folder, create=True, site=Site(workspace=folder))


def refused(record: StudyRecord) -> bool:
    """Whether the study gets no verdict word from any door."""
    try:
        verdicts(record)
    except EvidenceError:
        return evidence_status(record).kind != "evidence"
    return False


def unequal_trials(numbers: np.random.Generator, studies: int) -> Counts:
    """V8: one level with another number of trials than the other, fed in as if it had been planned so."""
    sound, caught = [], []
    for record in _studies(studies):
        sound.append(not refused(record))
        level = LEVELS[int(numbers.integers(len(LEVELS)))]
        own = [row for row in record.evaluations if row.slot.level == level and row.slot.phase == "retune"]
        drawn = own[int(numbers.integers(len(own)))]
        extra = replace(drawn, slot=replace(drawn.slot, index=90 + drawn.slot.index))
        fewer = tuple(row for row in record.evaluations if row is not drawn)
        for rows in ((*record.evaluations, extra), fewer):
            caught.append(refused(_recounted(record, rows)))
    return {
        "sound study judged": _count(sound),
        "unequal trials refused": _count(caught),
    }


def adaptive_rows(_: np.random.Generator, studies: int) -> Counts:
    """V9: a study sampled by TPE, and the same rows passed off as a fixed design."""
    named, passed_off = [], []
    for number in range(studies):
        record = whole_study(f"adaptive-{number}", "tpe")
        named.append(refused(record))
        passed_off.append(refused(replace(record, sampler="sobol")))
    return {"TPE study refused": _count(named), "TPE rows called a design refused": _count(passed_off)}


@dataclass(frozen=True, kw_only=True)
class ForbiddenEvent:
    """Something that must not pass."""

    name: str
    done: Callable[[StudyRecord, np.random.Generator], StudyRecord]


def trespasses(numbers: np.random.Generator, studies: int) -> Counts:
    """V15: test data read early, a seed used twice, a peek, search rows as evidence."""
    caught: dict[str, list[bool]] = {}
    for record in _studies(studies):
        for trespass in TRESPASSES:
            caught.setdefault(trespass.name, []).append(refused(trespass.done(record, numbers)))
        caught.setdefault("search rows as evidence", []).append(_search_rows_refused(record))
    return {f"{name}: refused": _count(found) for name, found in caught.items()}


def _leak(record: StudyRecord, numbers: np.random.Generator) -> StudyRecord:
    return _changed(record, numbers, "retune", lambda row: replace(row, test={"best_validation": 0.1}))


def _reused_seed(record: StudyRecord, numbers: np.random.Generator) -> StudyRecord:
    """A confirm member that was trained with a promote member's seed, and so repeats it."""
    promoted = {row.slot.cell: row for row in record.evaluations if row.slot.phase == "promote"}

    def repeat(row: Evaluation) -> Evaluation:
        told = promoted[row.slot.cell]
        return replace(row, curve=told.curve, config=told.config, arm="tuned")

    return _changed(record, numbers, "confirm", repeat, arm="tuned")


def _peek(record: StudyRecord, numbers: np.random.Generator) -> StudyRecord:
    """Verdicts asked for while some confirm members are not there yet."""
    confirm = [row for row in record.evaluations if row.slot.phase == "confirm"]
    gone = {confirm[i].id for i in numbers.choice(len(confirm), size=len(confirm) // 4, replace=False)}
    return replace(record, evaluations=tuple(row for row in record.evaluations if row.id not in gone))


def _more_tasks(record: StudyRecord, _: np.random.Generator) -> StudyRecord:
    """A look that was not planned: the plan allowed fewer families than are judged."""
    return replace(record, budget=replace(record.budget, looks=(6,)))


TRESPASSES = (
    ForbiddenEvent(name="test leak", done=_leak),
    ForbiddenEvent(name="reused seed", done=_reused_seed),
    ForbiddenEvent(name="peek before the end", done=_peek),
    ForbiddenEvent(name="look beyond the plan", done=_more_tasks),
)


def _search_rows_refused(record: StudyRecord) -> bool:
    """The tuned arm's places taken by search points, their validation scores passed off as test scores."""
    seeds = range(record.budget.confirm_seeds)
    rows = [row for row in record.evaluations if row.slot.phase == "confirm" and row.arm == "default"]
    rows += [
        replace(
            row,
            slot=replace(row.slot, index=row.slot.index - 1),
            test={"best_validation": row.validation_metric},
        )
        for row in record.evaluations
        if row.slot.phase == "retune" and row.slot.index - 1 in seeds
    ]
    try:
        from_rows(record, record.questions[0], "shallow", rows)
    except EvidenceError:
        return True
    return False


def _studies(studies: int) -> list[StudyRecord]:
    """The same studies for every row; what is done to them is drawn."""
    return [whole_study(f"simulated-{number}") for number in range(studies)]


def _changed(
    record: StudyRecord,
    numbers: np.random.Generator,
    phase: str,
    change: Callable[[Evaluation], Evaluation],
    **having: Any,
) -> StudyRecord:
    """One evaluation of that phase, drawn by chance, changed."""
    rows = [
        row
        for row in record.evaluations
        if row.slot.phase == phase and all(getattr(row, name) == value for name, value in having.items())
    ]
    drawn = rows[int(numbers.integers(len(rows)))]
    return replace(
        record, evaluations=tuple(change(row) if row is drawn else row for row in record.evaluations)
    )


def _recounted(record: StudyRecord, rows: tuple[Evaluation, ...]) -> StudyRecord:
    """The study with these rows, and the plan counting them as planned: only equality is left to object."""
    counts: Counter[str] = Counter(row.slot.phase for row in rows)
    return replace(record, evaluations=rows, planned={phase: counts[phase] for phase in record.planned})


def _count(found: list[bool]) -> tuple[int, int]:
    return sum(found), len(found)
