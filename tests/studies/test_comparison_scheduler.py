"""The order of work: nothing twice, nothing early, and the same study whatever ends first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reports.evidence.fairness_checks import evidence_status, unjudged
from studies.comparison.protocol import Plan
from studies.comparison.record import study_record
from studies.comparison.workload import ComparisonWorkload
from studies.execution.retries import ATTEMPTS, PREEMPTIONS
from studies.execution.scheduler import Scheduler
from studies.packing import Pack
from tests.studies.planted import agenda_of, outcome, phases, planned, started, tiny, train, train_all
from tests.studies.tampering import tamper
from trainers.evaluation import Evaluation
from trainers.member import Member


def workload_of(agenda: Scheduler) -> ComparisonWorkload:
    """What it hands out the packs of."""
    assert isinstance(agenda.workload, ComparisonWorkload)
    return agenda.workload


def plan_of(agenda: Scheduler) -> Plan:
    """As the pilot has fixed it."""
    plan = workload_of(agenda).plan
    assert plan is not None
    return plan


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
        assert workload_of(agenda).plan is None
        assert ledger.plans("tiny") == []
        train(agenda, pack)
    assert [plan.hash for plan in ledger.plans("tiny")] == [plan_of(agenda).hash]
    assert ledger.margins("tiny") == plan_of(agenda).margins


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


def slots(*packs: Pack) -> set[str]:
    return {member.slot.id for pack in packs for member in pack.members}


def failing(agenda: Scheduler, poison: Callable[[Pack], bool], kind: str = "crash") -> list[int]:
    """Works the agenda off; packs that are poison fail. Returns the sizes of the packs that did."""
    sizes = []
    while (pack := agenda.next_pack()) is not None:
        if poison(pack):
            sizes.append(len(pack.members))
            agenda.fail(pack, "segmentation fault", kind=kind)
        else:
            train(agenda, pack)
    return sizes


def first_retune_pack(workspace: Path) -> Pack:
    ledger, fixed = started(workspace)
    return next(pack for pack in train_all(agenda_of(ledger, fixed)) if pack.phase == "retune")


def test_a_pack_that_nobody_can_train_is_given_up_and_tried_again_by_the_next_run(tmp_path: Path) -> None:
    poison = first_retune_pack(tmp_path / "look")
    ledger, fixed = started(tmp_path / "ws")
    agenda = agenda_of(ledger, fixed)
    sizes = failing(agenda, lambda pack: slots(pack) <= slots(poison))
    whole = len(poison.members)
    assert sizes[: ATTEMPTS + 1] == [whole] * ATTEMPTS + [whole // 2]
    assert len(sizes) <= ATTEMPTS + 2 * math.ceil(math.log2(whole)) + 2, "two members are enough to know"
    assert [pack.id for pack in agenda.failed_packs] == [poison.id]
    assert agenda.done
    assert agenda.finished < agenda.planned
    assert agenda.set_aside == 0
    kinds = [attempt.kind for attempt in ledger.attempts("tiny") if attempt.pack == poison.id]
    assert kinds == ["crash"] * ATTEMPTS + ["split", "given_up"]
    confirmed = {
        (e.slot.task, e.slot.regime) for e in ledger.evaluations("tiny") if e.slot.phase == "confirm"
    }
    assert len(confirmed) == 3

    resumed = agenda_of(ledger, fixed)
    train_all(resumed)
    assert resumed.finished == resumed.planned


@pytest.mark.parametrize("place", [0, 3, -1])
def test_a_member_that_brings_its_pack_down_is_found_and_set_aside(tmp_path: Path, place: int) -> None:
    pack = first_retune_pack(tmp_path / "look")
    poison = pack.members[place]
    ledger, fixed = started(tmp_path / "ws")
    agenda = agenda_of(ledger, fixed)
    sizes = failing(agenda, lambda tried: poison in tried.members)
    assert len(sizes) - ATTEMPTS <= math.ceil(math.log2(len(pack.members))) + 1
    assert agenda.done and agenda.finished == agenda.planned and not agenda.failed_packs
    assert agenda.set_aside == 1
    (failed,) = [e for e in ledger.evaluations("tiny") if e.status == "failed"]
    assert failed.slot == poison.slot
    assert failed.cause == "crash: segmentation fault"
    record = study_record(ledger, "tiny")
    assert evidence_status(record).kind == "evidence"
    assert (poison.slot.factor, poison.slot.regime) in unjudged(record)

    again = agenda_of(ledger, fixed)
    assert again.done and again.set_aside == 1, "it is not tried again: what came after hangs on it"


def test_what_does_not_fit_into_memory_is_tried_in_halves(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    sizes = failing(agenda, lambda pack: len(pack.members) > 2, kind="memory")
    assert sizes and min(sizes) > 2
    assert agenda.done and agenda.finished == agenda.planned
    assert agenda.set_aside == 0 and not agenda.failed_packs
    packs = Counter(attempt.pack for attempt in ledger.attempts("tiny") if attempt.kind == "memory")
    assert set(packs.values()) == {1}, "none is tried twice at a size that did not fit"


def test_losing_the_worker_does_not_count_as_an_attempt_but_has_an_end(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    first = agenda.next_pack()
    assert first is not None
    for _ in range(PREEMPTIONS - 1):
        agenda.fail(first, "the machine was lost", kind="preempted")
        stage = agenda.workload.stage_of(first)
        assert stage is not None
        stage.ready.rotate(1)
        again = agenda.next_pack()
        assert again is not None and again.id == first.id
    agenda.fail(first, "the machine was lost", kind="preempted")
    halves = agenda.next_pack()
    assert halves is not None and slots(halves) < slots(first)
    train(agenda, halves)
    train_all(agenda)


def test_a_pack_that_was_split_is_resumed_where_it_was(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    first = agenda.next_pack()
    assert first is not None
    agenda.fail(first, "too large", kind="memory")
    half = agenda.next_pack()
    assert half is not None
    train(agenda, half)
    rest = train_all(agenda_of(ledger, fixed))
    assert not slots(half) & slots(*rest), "what a half has trained is not trained again"
    assert not [a for a in ledger.attempts("tiny") if a.kind == "duplicate"]


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
    assert plan_of(agenda).tasks["initializer"] == dict.fromkeys(("shallow", "deep"), ("rings", "stairs"))
    assert {m.task: m.accepted for m in plan_of(agenda).margins} == {
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
    assert plan_of(agenda).chains == ()
    assert agenda.finished == agenda.planned == 3 * 2 * 20


def test_a_ledger_with_other_numbers_than_the_plan_asks_for_is_refused(workspace: Path) -> None:
    ledger, fixed = started(workspace, planned(tiny(pack_size=5)))
    agenda = agenda_of(ledger, fixed)
    while (pack := agenda.next_pack()) is not None and pack.phase == "pilot":
        train(agenda, pack)
    assert pack is not None
    train(agenda, pack)  # some of the first chain's retune members, not all
    tamper(
        ledger,
        "UPDATE evaluations SET evaluation = replace(evaluation, '\"learning_rate\":', '\"learning_rate\":1')"
        " WHERE phase = 'retune' AND number = 1",
    )
    with pytest.raises(ValueError, match="other numbers"):
        train_all(agenda_of(ledger, fixed))
