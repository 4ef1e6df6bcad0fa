"""The order of work: nothing twice, nothing early, and the same study whatever ends first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studies.packing import Pack
from studies.work import ATTEMPTS
from tests.studies.planted import agenda_of, outcome, phases, planned, started, tiny, train, train_all
from trainers.evaluation import Evaluation
from trainers.member import Member


def test_the_pilot_comes_first_then_every_planned_member_once(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    order = train_all(agenda)
    assert phases(order)[0] == "pilot"
    slots = [m.slot.id for pack in order for m in pack.members]
    assert len(slots) == len(set(slots)) == agenda.planned == agenda.finished
    assert agenda.done
    assert agenda.next_pack() is None
    assert ledger.filled("tiny").keys() == set(slots)


def test_the_plan_is_recorded_before_the_first_retune_member(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    while (pack := agenda.next_pack()) is not None and pack.phase == "pilot":
        assert agenda.plan is None
        assert ledger.plans("tiny") == []
        train(agenda, pack)
    assert agenda.plan is not None
    assert [plan.hash for plan in ledger.plans("tiny")] == [agenda.plan.hash]
    assert ledger.margins("tiny") == agenda.plan.margins


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_the_order_of_completion_changes_nothing(tmp_path: Path, sampler: str) -> None:
    fixed = planned(tiny(sampler=sampler, budget={"families": 2, "blocks": 2, "trials": 6}, pack_size=5))
    quiet, _ = started(tmp_path / "quiet", fixed)
    packs = train_all(agenda_of(quiet, fixed))
    for seed in range(2):
        ledger, _ = started(tmp_path / str(seed), fixed)
        mixed = train_all(agenda_of(ledger, fixed), shuffled=np.random.default_rng(seed))
        assert [pack.id for pack in mixed] != [pack.id for pack in packs]
        assert {pack.id for pack in mixed} == {pack.id for pack in packs}
        assert ledger.evaluations("tiny") == quiet.evaluations("tiny")
        assert ledger.plans("tiny") == quiet.plans("tiny")


def test_no_stage_waits_for_another_chain(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    held: list[str] = []
    seen = set()
    while (pack := agenda.next_pack()) is not None:
        if pack.phase == "retune" and (not held or (pack.task, pack.regime) == ("stripes", "deep")):
            held.append(pack.id)
            continue  # never ends
        seen.add((pack.phase, pack.task, pack.regime))
        train(agenda, pack)
    assert not agenda.done
    confirmed = {(task, regime) for phase, task, regime in seen if phase == "confirm"}
    assert len(confirmed) >= 2


def test_the_longest_chain_is_started_first(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    order = train_all(agenda_of(ledger, fixed))
    retune = [pack.regime for pack in order if pack.phase == "retune"]
    assert retune[0] == "deep"


@pytest.mark.parametrize("stop_after", [0, 1, 7, 12, 17, 1000])
def test_a_resumed_study_trains_the_rest_and_ends_the_same(tmp_path: Path, stop_after: int) -> None:
    ledger, fixed = started(tmp_path / "stopped")
    agenda = agenda_of(ledger, fixed)
    before: list[Pack] = []
    while len(before) < stop_after and (pack := agenda.next_pack()) is not None:
        train(agenda, pack)
        before.append(pack)
    agenda.next_pack()  # was being trained when the end came
    ledger.close()
    again, fixed = started(tmp_path / "stopped")
    after = train_all(agenda_of(again, fixed))
    quiet, fixed = started(tmp_path / "quiet")
    whole = train_all(agenda_of(quiet, fixed))
    assert sorted(p.id for p in (*before, *after)) == sorted(p.id for p in whole)
    assert again.evaluations("tiny") == quiet.evaluations("tiny")
    assert again.plans("tiny") == quiet.plans("tiny")


def test_a_failed_pack_is_tried_three_times_and_the_rest_goes_on(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    tried: dict[str, int] = {}
    poison = ""
    while (pack := agenda.next_pack()) is not None:
        if pack.phase == "retune" and not poison:
            poison = pack.id
        if pack.id == poison:
            tried[pack.id] = tried.get(pack.id, 0) + 1
            agenda.fail(pack, "segmentation fault", kind="crash")
        else:
            train(agenda, pack)
    assert tried == {poison: ATTEMPTS}
    assert [pack.id for pack in agenda.failed_packs] == [poison]
    assert agenda.done
    assert agenda.finished < agenda.planned
    kinds = [attempt.kind for attempt in ledger.attempts("tiny") if attempt.pack == poison]
    assert kinds == ["crash"] * ATTEMPTS + ["given_up"]
    confirmed = {
        (e.slot.task, e.slot.regime) for e in ledger.evaluations("tiny") if e.slot.phase == "confirm"
    }
    assert len(confirmed) == 3

    resumed = agenda_of(ledger, fixed)
    train_all(resumed)
    assert resumed.finished == resumed.planned


def test_a_worker_believed_dead_may_still_deliver_once(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    pack = agenda.next_pack()
    assert pack is not None
    agenda.fail(pack, "no heartbeat", kind="crash")
    train(agenda, pack)
    finished = agenda.finished
    train(agenda, pack)
    agenda.fail(pack, "too late", kind="crash")
    assert agenda.finished == finished
    order = train_all(agenda)
    assert pack.id not in {p.id for p in order}
    assert agenda.finished == agenda.planned


def test_diverged_members_are_counted_and_nothing_stops(workspace: Path) -> None:
    ledger, fixed = started(workspace)

    def sometimes(member: Member) -> Evaluation:
        bad = member.slot.phase == "retune" and member.slot.index == 2
        return outcome(member, status="diverged" if bad else "finished")

    agenda = agenda_of(ledger, fixed)
    train_all(agenda, make=sometimes)
    assert agenda.diverged == 2 * 2 * 2 * 2  # regimes, tasks, blocks, levels
    assert agenda_of(ledger, fixed).diverged == agenda.diverged
    assert agenda.finished == agenda.planned


def test_a_task_that_hardly_trains_is_replaced_and_piloted_no_further(workspace: Path) -> None:
    ledger, fixed = started(workspace)

    def hard(member: Member) -> Evaluation:
        refused = member.slot.phase == "pilot" and member.slot.task == "stripes"
        return outcome(member, error=0.4 if refused else None)

    agenda = agenda_of(ledger, fixed)
    hoped = agenda.planned
    train_all(agenda, make=hard)
    assert agenda.plan is not None
    assert agenda.plan.tasks["initializer"] == dict.fromkeys(("shallow", "deep"), ("rings", "stairs"))
    assert {m.task: m.accepted for m in agenda.plan.margins} == {
        "stripes": False,
        "rings": True,
        "stairs": True,
    }
    assert agenda.planned == hoped + 2 * 20
    assert agenda.finished == agenda.planned


def test_a_study_whose_tasks_are_all_refused_ends_after_its_pilot(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    order = train_all(agenda, make=lambda member: outcome(member, error=0.49))
    assert phases(order) == ["pilot"]
    assert agenda.plan is not None
    assert agenda.plan.chains == ()
    assert agenda.finished == agenda.planned == 3 * 2 * 20


def test_a_ledger_with_other_numbers_than_the_plan_asks_for_is_refused(workspace: Path) -> None:
    ledger, fixed = started(workspace, planned(tiny(pack_size=5)))
    agenda = agenda_of(ledger, fixed)
    while (pack := agenda.next_pack()) is not None and pack.phase == "pilot":
        train(agenda, pack)
    assert pack is not None
    train(agenda, pack)  # some of the first chain's retune members, not all
    ledger._db.execute(
        "UPDATE evaluations SET evaluation = replace(evaluation, '\"learning_rate\":', '\"learning_rate\":1')"
        " WHERE phase = 'retune' AND number = 1"
    )
    with pytest.raises(ValueError, match="other numbers"):
        train_all(agenda_of(ledger, fixed))
