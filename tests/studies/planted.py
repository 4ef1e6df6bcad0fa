"""Small study files, and evaluations made by hand where no network needs to be trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from studies.comparison.protocol import ComparisonProtocol, comparison_protocol
from studies.comparison.workload import ComparisonWorkload
from studies.execution.scheduler import Scheduler
from studies.ledger.ledger import Ledger, StudyRow
from studies.packing import Pack
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from trainers.evaluation import Evaluation, Status
from trainers.member import Member
from trainers.randomness import stream
from trainers.tasks.task import Task, TaskBook

TINY: Mapping[str, Any] = {
    "study": "tiny",
    "questions": [{"factor": "initializer", "levels": ["he_normal", "torch_default"]}],
    "regimes": {"shallow": {"depth": 1}, "deep": {"depth": 3}},
    "setting": {"width": 4, "steps": 4, "batch_size": 8, "train_size": 32, "evaluations": 2},
    "fixed": {"schedule": "one_cycle"},
    "background": {"optimizer": ["nesterov", "adamw"]},
    "nuisance": ["learning_rate"],
    "tasks": ["stripes", "rings", "stairs"],
    "budget": {"families": 2, "blocks": 2, "trials": 3},
}


def tiny(**changes: Any) -> ResolvedStudy:
    """The small study with some keys replaced."""
    return parse({**TINY, **changes}, file="tiny.yaml")


def stripes(name: str) -> Task:
    """Two classes that a line separates."""
    x = stream("planted", name).standard_normal((200, 3), dtype=np.float32)
    return Task.from_arrays(x, x[:, 0] > 0, kind="classification", name=name, n_test=60)


BOOK: TaskBook = {name: cache(lambda name=name: stripes(name)) for name in ("stripes", "rings", "stairs")}


def planned(spec: ResolvedStudy | None = None) -> ComparisonProtocol:
    """The protocol of the small study."""
    return comparison_protocol(spec or tiny(), BOOK)


def started(workspace: Path, fixed: ComparisonProtocol | None = None) -> tuple[Ledger, ComparisonProtocol]:
    """A ledger with the small study in it, nothing trained."""
    fixed = fixed or planned()
    ledger = Ledger.open(workspace, create=True)
    if ledger.find_study(fixed.name) is None:
        ledger.start_study(
            StudyRow(
                name=fixed.name,
                title=fixed.study.title,
                protocol_hash=fixed.hash,
                protocol=fixed.plain(),
                terms={"flops_per_second": 2e9, "hardware": "cpu", "versions": {}},
                started_ms=0,
            )
        )
    return ledger, fixed


def agenda_of(ledger: Ledger, fixed: ComparisonProtocol) -> Scheduler:
    """An agenda of that study on that ledger."""
    return Scheduler(ComparisonWorkload(fixed, ledger, BOOK, flops_per_second=2e9), ledger, BOOK)


def outcome(member: Member, *, status: Status = "finished", error: float | None = None) -> Evaluation:
    """A made-up result: a function of the slot and the numbers, as a real training's is."""
    noise = float(stream("outcome", member.slot.id).random()) / 10
    found = 0.1 + noise if error is None else error
    return Evaluation(
        slot=member.slot,
        arm=member.arm,
        config=member.config,
        status=status,
        cause="" if status == "finished" else "non_finite_loss",
        validation_metric=0.5 if status == "diverged" else found,
        validation_loss=float("inf") if status == "diverged" else 2 * found,
        best_step=4,
        test={"best_validation": found, "last": found} if member.reads_test else None,
        steps=4,
    )


Maker = Callable[[Member], Evaluation]


def train(agenda: Scheduler, pack: Pack, make: Maker = outcome) -> None:
    """Commits made-up results for one pack."""
    agenda.commit(pack, [make(m) for m in pack.members], seconds=1.0, worker="planted")


def train_all(
    agenda: Scheduler, *, shuffled: np.random.Generator | None = None, make: Maker = outcome
) -> list[Pack]:
    """Works the agenda off; with `shuffled`, up to 5 packs run at a time and end in any order."""
    running: list[Pack] = []
    order: list[Pack] = []
    while not agenda.done or running:
        while len(running) < (5 if shuffled else 1) and (pack := agenda.next_pack()) is not None:
            running.append(pack)
        assert running, "the agenda waits for nobody"
        pack = running.pop(int(shuffled.integers(len(running))) if shuffled else 0)
        train(agenda, pack, make)
        order.append(pack)
    return order


def phases(packs: Sequence[Pack]) -> list[str]:
    """Their phases, repetitions left out."""
    return list(dict.fromkeys(pack.phase for pack in packs))
