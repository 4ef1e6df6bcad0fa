"""A small search study, and results made by hand where no network needs to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.execution.scheduler import Scheduler
from studies.ledger.ledger import Ledger, StudyRow
from studies.search.protocol import SearchProtocol, search_protocol
from studies.search.spec import SearchSpec, parse
from studies.search.workload import SearchWorkload
from tests.studies.planted import BOOK
from trainers.evaluation import CurvePoint, Evaluation
from trainers.loop.validation_log import evaluation_steps
from trainers.member import Member
from trainers.randomness import stream

SMALL: Mapping[str, Any] = {
    "kind": "search",
    "study": "seek",
    "title": "A search of a moment",
    "tasks": ["stripes"],
    "setting": {"depth": 1, "width": 4, "steps": 18, "batch_size": 8, "train_size": 32, "evaluations": 9},
    "fixed": {"schedule": "one_cycle"},
    "space": {
        "activation": ["relu", "tanh"],
        "optimizer": ["nesterov", "adamw"],
        "learning_rate": None,
        "weight_decay": None,
    },
    "trials": 22,
    "generation": 6,
    "pack_size": 4,
}


def seek(**changes: Any) -> SearchSpec:
    """The small search with some keys replaced."""
    return parse({**SMALL, **changes}, file="seek.yaml")


def planned(spec: SearchSpec | None = None) -> SearchProtocol:
    """Its protocol."""
    return search_protocol(spec or seek(), BOOK)


def started(workspace: Path, fixed: SearchProtocol | None = None) -> tuple[Ledger, SearchProtocol]:
    """A ledger with the search in it, nothing trained."""
    fixed = fixed or planned()
    ledger = Ledger.open(workspace, create=True)
    if ledger.find_study(fixed.name) is None:
        ledger.start_study(
            StudyRow(
                name=fixed.name,
                title=fixed.study.title,
                protocol_hash=fixed.hash,
                protocol=fixed.plain(),
                terms={"flops_per_second": 2e9, "hardware": "cpu", "versions": {"torch": "2"}},
                started_ms=0,
            )
        )
    return ledger, fixed


def agenda_of(ledger: Ledger, fixed: SearchProtocol) -> Scheduler:
    """Its order of work on that ledger."""
    return Scheduler(SearchWorkload(fixed, ledger, BOOK, flops_per_second=2e9), ledger, BOOK)


def outcome(member: Member) -> Evaluation:
    """A made-up training: best where the learning rate is 0.03, stopped at the member's own rungs.

    A function of the slot and the numbers, as a real training's is.
    """
    rate = member.config.numbers["learning_rate"]
    noise = float(stream("outcome", member.slot.id).random()) / 50
    floor = min(0.05 + abs(rate - 0.03) + noise, 0.9)
    thresholds, curve = dict(member.rungs), []
    status, ended = "finished", member.config.setting.steps
    for place, step in enumerate(evaluation_steps(member.config.setting)):
        metric = floor + 0.05 / (place + 1)
        curve.append(
            CurvePoint(
                step=step,
                train_loss=metric,
                validation_loss=metric,
                validation_metric=metric,
                learning_rate=rate,
            )
        )
        if metric > thresholds.get(step, 1.0):
            status, ended = "pruned", step
            break
    diverged = rate > 0.5
    return Evaluation(
        slot=member.slot,
        arm=member.arm,
        config=member.config,
        status="diverged" if diverged else status,  # type: ignore[arg-type]
        cause="non_finite_loss" if diverged else "",
        validation_metric=0.5 if diverged else curve[-1].validation_metric,
        validation_loss=float("inf") if diverged else curve[-1].validation_loss,
        best_step=0 if diverged else ended,
        curve=() if diverged else tuple(curve),
        steps=2 if diverged else ended,
    )


def train_all(agenda: Scheduler, *, most: int = 1_000_000) -> int:
    """Works the agenda off, or so many packs of it; returns how many."""
    done = 0
    while done < most and (pack := agenda.next_pack()) is not None:
        agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
        done += 1
    return done
