"""Every kind of study in the table is planned, counted and taken up again by the same scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from studies.execution.scheduler import Scheduler
from studies.kinds import COMPARISON, KINDS, RANGE_SCAN, SEARCH, StudyKind, kind_of, recorded_kind
from studies.ledger.ledger import Ledger, StudyRow
from studies.load_study import at_profile, parse
from studies.packing import halves
from studies.spec.errors import SpecError
from studies.spec.resolved import ResolvedStudy
from tests.studies import searches
from tests.studies import test_scope as scans
from tests.studies.planted import BOOK, TINY, outcome, tiny
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.tasks.task import TaskBook


@dataclass(frozen=True, kw_only=True)
class Example:
    """A small study of one kind, with made-up results."""

    protocol: Any
    book: TaskBook
    make: Callable[[Member], Evaluation]


EXAMPLES: dict[str, Callable[[], Example]] = {
    COMPARISON.name: lambda: Example(protocol=COMPARISON.protocol(tiny(), BOOK), book=BOOK, make=outcome),
    SEARCH.name: lambda: Example(
        protocol=SEARCH.protocol(searches.seek(), BOOK), book=BOOK, make=searches.outcome
    ),
    RANGE_SCAN.name: lambda: Example(protocol=scans.fixed(), book=scans.BOOK, make=scans.by_rate(0.005)),
}
"""Kind -> its example; a new kind fails the first test until it has one."""


@contextmanager
def begun(kind: StudyKind[Any, Any], example: Example, workspace: Path) -> Iterator[tuple[Ledger, Scheduler]]:
    """Its ledger and its scheduler, new or taken up again."""
    protocol = example.protocol
    with Ledger.open(workspace, create=True) as ledger:
        if ledger.find_study(protocol.name) is None:
            ledger.start_study(
                StudyRow(
                    name=protocol.name,
                    title="",
                    protocol_hash=protocol.hash,
                    protocol=protocol.plain(),
                    terms={"flops_per_second": 2e9, "hardware": "cpu", "versions": {}},
                    started_ms=0,
                )
            )
        yield (
            ledger,
            Scheduler(
                kind.workload(protocol, ledger, example.book, flops_per_second=2e9), ledger, example.book
            ),
        )


def test_every_kind_has_an_example_here() -> None:
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_the_ledger_alone_counts_what_the_scheduler_counts_at_every_commit(
    name: str, workspace: Path
) -> None:
    kind, example = KINDS[name], EXAMPLES[name]()
    with begun(kind, example, workspace) as (ledger, scheduler):
        row = ledger.study(scheduler.study)
        assert recorded_kind(row) is kind
        phases = set()
        while (pack := scheduler.next_pack()) is not None:
            scheduler.commit(pack, [example.make(m) for m in pack.members], seconds=1.0, worker="planted")
            recorded = kind.recorded_work(ledger, row)
            assert recorded.by_phase == scheduler.workload.planned.by_phase
            phases.add(pack.phase)
        assert scheduler.done and scheduler.finished == scheduler.planned == len(ledger.filled(row.name))
        assert scheduler.work_done == pytest.approx(scheduler.work_planned)
        assert phases == {phase for phase, count in scheduler.workload.planned.by_phase.items() if count}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("stop", [0, 3])
def test_a_study_of_any_kind_goes_on_where_it_ended(name: str, stop: int, tmp_path: Path) -> None:
    kind, example = KINDS[name], EXAMPLES[name]()

    def worked(workspace: Path, *stops: int) -> set[str]:
        packs = set()
        for packs_now in (*stops, 1_000_000):
            with begun(kind, example, workspace) as (_, scheduler):
                while packs_now and (pack := scheduler.next_pack()) is not None:
                    rows = [example.make(member) for member in pack.members]
                    scheduler.commit(pack, rows, seconds=1.0, worker="planted")
                    assert pack.id not in packs
                    packs.add(pack.id)
                    packs_now -= 1
        return packs

    assert worked(tmp_path / "stopped", stop) == worked(tmp_path / "whole")


@pytest.mark.parametrize("name", KINDS)
def test_of_a_pack_that_the_ledger_has_in_part_each_member_counts_once(name: str, workspace: Path) -> None:
    kind, example = KINDS[name], EXAMPLES[name]()
    with begun(kind, example, workspace) as (ledger, scheduler):
        pack = scheduler.next_pack()
        assert pack is not None and len(pack.members) > 1
        rows = [outcome(member, status="diverged") for member in pack.members]
        part = halves(pack)[0]
        early = [row for row in rows if row.slot in {member.slot for member in part.members}]
        ledger.commit(scheduler.study, part, early, seconds=1.0, worker="believed dead")
        scheduler.commit(pack, rows, seconds=1.0, worker="planted")
        statuses = Counter(ledger.filled(scheduler.study).values())
        assert (scheduler.finished, scheduler.diverged) == (len(rows), statuses["diverged"])
        scheduler.commit(pack, rows, seconds=1.0, worker="again")
        assert (scheduler.finished, scheduler.diverged) == (len(rows), len(rows))


def test_a_file_names_a_kind_that_has_files() -> None:
    assert kind_of(parse(TINY)) is COMPARISON
    assert kind_of(parse(searches.SMALL)) is SEARCH
    for wrong in ("scope", "serach", ["search"]):
        with pytest.raises(SpecError, match=r"unknown kind of study .* Allowed: guideline, search"):
            parse({**TINY, "kind": wrong})


def test_only_a_study_whose_budget_has_profiles_takes_one() -> None:
    full = at_profile(parse({**TINY, "budget": {"families": 2}}), "full")
    assert isinstance(full, ResolvedStudy) and full.profile == "full"
    with pytest.raises(ValueError, match=r"a search study has no profile; its budget is trials = 22"):
        at_profile(searches.seek(), "full")
