"""Where a study stands, from its ledger alone, is what the agenda says that trains it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from studies.cluster.recorded_spec import study_text
from studies.cluster.status import failures, pace, status_of
from studies.execution.scheduler import Scheduler
from studies.kinds import recorded_kind
from studies.ledger.ledger import Attempt, CommittedPack, Ledger, StudyRow
from studies.load_study import load, parse
from studies.run import checked
from studies.spec.load import shipped
from studies.spec.yaml_reader import parse_yaml
from tests.studies import races
from tests.studies import test_external_check as external
from tests.studies.planted import Maker, agenda_of, outcome, planned, started, tiny, train
from trainers.tasks import TASKS


def planned_in(ledger: Ledger, study: str) -> int:
    """Members of the whole study, by the ledger alone."""
    row = ledger.study(study)
    return recorded_kind(row).recorded_work(ledger, row).total


def test_members_and_cells_are_counted_as_the_agenda_counts_them(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        row = ledger.study("tiny")
        agenda, seen = agenda_of(ledger, fixed), set()
        while (pack := agenda.next_pack()) is not None:
            agenda.commit(pack, [outcome(member) for member in pack.members], seconds=1.0, worker="here")
            assert planned_in(ledger, "tiny") == agenda.planned
            seen.add(pack.phase)
        now = status_of(ledger, row, now_ms=0)
    assert seen == {"pilot", "retune", "promote", "confirm"}
    assert now.complete and now.finished == now.planned == agenda.planned
    assert now.cells_done == now.cells_planned == 2 * 2 * 2 * 2, "levels, regimes, tasks, blocks"


def test_before_the_first_member_the_whole_study_is_ahead(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        now = status_of(ledger, ledger.study("tiny"), now_ms=0)
        assert now.planned == agenda_of(ledger, fixed).planned
    assert not now.complete
    assert (now.finished, now.cells_done, now.seconds_left) == (0, 0, None)


def test_the_time_left_is_told_at_the_pace_of_the_last_minutes(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        for _ in range(8):
            pack = agenda.next_pack()
            assert pack is not None
            agenda.commit(pack, [outcome(member) for member in pack.members], seconds=2.0, worker="here")
        row, last = ledger.study("tiny"), ledger.trained("tiny")[-1].committed_ms
        running = status_of(ledger, row, now_ms=last + 10_000)
        asleep = status_of(ledger, row, now_ms=last + 3_600_000)
    assert running.rate > 0 and running.seconds_left is not None and running.seconds_left > 0
    assert (asleep.rate, asleep.seconds_left) == (0.0, None)


def test_a_pace_counts_packs_that_were_trained_at_the_same_time() -> None:
    packs = [
        CommittedPack(factor="a", task="t", regime="r", members=4, seconds=20.0, committed_ms=1000 * second)
        for second in (0, 10, 10, 20, 20)
    ]
    rate, busy = pace(packs, now_ms=20_000)
    assert rate == pytest.approx(16 / 20)
    assert busy == pytest.approx(80 / 20), "four packs of 20 s in 20 s"
    assert pace(packs[:2], now_ms=20_000) == (0.0, 0.0), "too few to say anything"


def test_failures_are_told_apart_by_their_kind() -> None:
    def happened(kind: str, cause: str) -> Attempt:
        return Attempt(pack="p", slot="", kind=kind, cause=cause, worker="", seconds=0.0, at_ms=0)

    happenings = [
        *(happened("committed", ""), happened("crash", "first"), happened("error", "KeyError\nline two")),
        *(happened("crash", "second"), happened("duplicate", "")),
    ]
    found = failures(happenings)
    assert list(found) == ["crash", "error"]
    assert (found["crash"].count, found["crash"].last) == (2, "second")
    assert (found["error"].count, found["error"].last) == (1, "KeyError")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_study_is_taken_up_from_the_ledger_as_it_was_recorded(name: str) -> None:
    fixed, _ = checked(load(name), TASKS)
    row = StudyRow(
        name=name, title="", protocol_hash=fixed.hash, protocol=fixed.plain(), terms={}, started_ms=0
    )
    again, _ = checked(parse(parse_yaml(study_text(row), "ledger"), file="ledger"), TASKS)
    assert again.hash == fixed.hash


def test_what_changes_no_result_is_taken_up_too(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        row = ledger.study("tiny")
    shown = {"diagnostics": "none", "tracking": "cells"}
    said = json.loads(study_text(replace(row, terms={**row.terms, "shown": shown})))
    assert (said["diagnostics"], said["tracking"]) == ("none", "cells")
    assert planned(tiny(**shown)).hash == fixed.hash


def follow(agenda: Scheduler, ledger: Ledger, make: Maker) -> None:
    """Trains to the end with made-up results; both counts agree at every commit."""
    while (pack := agenda.next_pack()) is not None:
        train(agenda, pack, make)
        assert planned_in(ledger, agenda.study) == agenda.planned, pack
    assert status_of(ledger, ledger.study(agenda.study), now_ms=0).complete


def test_races_are_counted_as_far_as_they_may_still_go(workspace: Path) -> None:
    ledger, agenda = races.begun(workspace)
    with ledger:
        most = planned_in(ledger, "racing")
        follow(agenda, ledger, races.made(races.hopeless))
        assert planned_in(ledger, "racing") < most, "a level was dropped"


def test_the_external_check_is_counted_before_and_while_it_runs(workspace: Path) -> None:
    ledger, fixed = external.opened(workspace)
    with ledger:
        follow(external.agenda_of(ledger, fixed), ledger, external.torch_wins_its_row)
        now = status_of(ledger, ledger.study("checked"), now_ms=0)
    assert now.cells_done == now.cells_planned == 3 * 4 * (2 + 3), "tasks, blocks, levels and recipes"
