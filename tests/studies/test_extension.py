"""An extension trains what its parent would have trained, had it been larger, and nothing a second time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.claims.cards import cards
from reports.evidence.fairness_checks import EvidenceError, check, evidence_status
from reports.evidence.study_record import StudyRecord
from reports.pages.study_page import build
from reports.verdicts import sentences
from reports.verdicts.fairness_certificate import certify
from reports.verdicts.verdict import verdicts
from studies.cluster.status import status_of
from studies.comparison.extension import child_spec, refuse_unlike, study_file
from studies.comparison.protocol import comparison_protocol
from studies.comparison.record import protocol_of, study_record
from studies.ledger.ledger import Ledger
from studies.operations.replay import member_again
from studies.operations.results import rows
from studies.run import run_inline
from studies.spec.errors import SpecError
from studies.spec.load import load, parse
from studies.spec.resolved import ResolvedStudy
from studies.spec.yaml_reader import parse_yaml, plain_text, read_yaml
from tests.studies.planted import outcome, started, train, train_all
from tests.studies.races import BOOK, LEVELS, RACING, agenda_of, hopeless, racing, trained_on
from trainers.evaluation import CurvePoint, Evaluation
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.randomness import stream

SMALL = {**RACING["budget"], "families": 8, "looks": [9, 10]}
"""Ends at 8 families; looks after 9 and 10 are registered."""
LARGE = {**RACING["budget"], "families": 10, "looks": [8, 9]}
"""The same looks, all of its own."""
LABELS = (*sentences.LABELS.values(), "confirmed", "tied", "contradicted")


def made(member: Member) -> Evaluation:
    """A result that hangs on the member's place and streams, as a real training's does."""
    slot, keys = member.slot, member.streams
    if slot.phase == "pilot":
        return outcome(member, error=0.1)
    names = (keys.study, keys.task, keys.block, keys.phase, slot.level, slot.regime, slot.index)
    noise = 0.001 * float(stream("noise", *names).standard_normal())
    away = hopeless(slot.regime, slot.level, int(slot.task[1:])) / 30
    losses = stream("curve", *names).random(3)
    curve = tuple(
        CurvePoint(
            step=k + 1, train_loss=float(loss), validation_loss=0.2, validation_metric=0.2, learning_rate=0.1
        )
        for k, loss in enumerate(losses)
    )
    return replace(outcome(member, error=0.3 + away + noise), curve=curve)


def trained(workspace: Path, spec: ResolvedStudy, *, stop: int | None = None) -> tuple[Ledger, int]:
    """The study trained with made-up results, or so many packs of it; and how many packs that took."""
    own = comparison_protocol(spec, BOOK)
    ledger = Ledger.open(workspace, create=True)
    refuse_unlike(own, ledger)
    started(workspace, own)
    agenda = agenda_of(ledger, own)
    if stop is None:
        packs = len(train_all(agenda, make=made))
        assert agenda.finished == agenda.planned
        return ledger, packs
    for _ in range(stop):
        pack = agenda.next_pack()
        assert pack is not None
        train(agenda, pack, made)
    return ledger, stop


def extended(ledger: Ledger, parent: str = "racing", **grown: Any) -> ResolvedStudy:
    """The extension's spec."""
    return child_spec(ledger, parent, **grown)


def told(record: StudyRecord) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Place of every evaluation, whoever made it -> what it was and what came out."""
    return {
        (*row.slot.cell, row.slot.phase, row.slot.index): (
            row.arm, row.config, row.status, row.validation_metric, row.test, row.curve
        )
        for row in record.evaluations
    }  # fmt: skip


def answers(record: StudyRecord) -> list[tuple[Any, ...]]:
    """What is said of every row."""
    return [
        (v.factor, v.regime, v.recommended, v.label, v.admissible, v.effects, v.families)
        for v in verdicts(record)
    ]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the small study; tests copy nothing and only add studies of other names."""
    workspace = tmp_path_factory.mktemp("parent")
    trained(workspace, racing(budget=SMALL))
    return workspace


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    """The study that had all ten families from the beginning."""
    ledger, _ = trained(tmp_path_factory.mktemp("large"), racing(budget=LARGE))
    return study_record(ledger, "racing")


@pytest.fixture(scope="module")
def child(parent: Path) -> Ledger:
    """The registered extension to ten families."""
    ledger, _ = trained(parent, extended(Ledger.open(parent), families=10))
    return ledger


def test_a_registered_extension_is_to_the_bit_the_study_that_was_larger(
    child: Ledger, large: StudyRecord
) -> None:
    record = study_record(child, "racing.families-10")
    assert told(record) == told(large)
    assert record.margins == large.margins
    assert record.planned == large.planned
    assert record.courses == large.courses
    assert answers(record) == answers(large)
    check(record)


def test_nothing_of_the_parent_is_trained_again_and_its_rows_race_on(child: Ledger) -> None:
    own = {row.slot.task for row in child.evaluations("racing.families-10")}
    assert own == {"t8", "t9"}
    deep = trained_on(study_record(child, "racing.families-10"), "deep")
    assert {task for task, levels in deep.items() if "he_normal" in levels} == {f"t{i}" for i in range(8)}
    assert deep["t9"] == {"torch_default", "glorot_normal"}


def test_from_outside_it_stands_where_its_agenda_ended(parent: Path, child: Ledger) -> None:
    spec = extended(child, families=10, name="seen")
    trained(parent, spec, stop=4)
    for name, complete in (("racing", True), ("racing.families-10", True), ("seen", False)):
        now = status_of(child, child.study(name), now_ms=0)
        assert now.complete is complete
        agenda = agenda_of(child, protocol_of(child.study(name).protocol))
        assert (now.finished, now.planned) == (agenda.finished, agenda.planned)
        assert (now.cells_done == now.cells_planned) is complete


def test_the_parent_stays_what_it_was(parent: Path, child: Ledger, tmp_path: Path) -> None:
    alone, _ = trained(tmp_path, racing(budget=SMALL))
    assert child.evaluations("racing") == alone.evaluations("racing")
    assert child.plans("racing") == alone.plans("racing")
    assert study_record(child, "racing") == study_record(alone, "racing")  # of which the page is a function


def test_the_page_says_which_look_it_is_and_the_certificate_names_the_parent(child: Ledger) -> None:
    first, last = study_record(child, "racing"), study_record(child, "racing.families-10")
    for record, look in ((first, "look 1 of 3, registered"), (last, "look 3 of 3, registered")):
        assert evidence_status(record).kind == "evidence"
        lines = {line.what: line.text for line in certify(record).lines}
        assert look in lines["looks"]
        assert all(any(look in caveat for caveat in v.caveats) for v in verdicts(record))
    assert "Look 3 of 3, registered" in build(last)[0]
    lines = {line.what: line.text for line in certify(last).lines}
    assert f"study racing (protocol {first.protocol_hash}, plan {first.plan_hash})" in lines["extends"]


def test_an_extension_can_be_extended_and_ends_where_one_step_would_have(
    parent: Path, large: StudyRecord
) -> None:
    step = extended(Ledger.open(parent), families=9, name="nine")
    trained(parent, step)
    ledger, _ = trained(parent, extended(Ledger.open(parent), "nine", families=10, name="ten"))
    record = study_record(ledger, "ten")
    assert record.extends is not None
    assert record.extends.studies == ("racing", "nine")
    assert told(record) == told(large)
    assert answers(record) == answers(large)
    assert {row.slot.task for row in ledger.evaluations("ten")} == {"t9"}
    middle = study_record(ledger, "nine")
    (deep,) = (v for v in verdicts(middle) if v.regime == "deep")
    assert deep.course is not None
    assert sentences.raced(deep.course).startswith("stopped at look 2 of 3, after 9 of 10 task families")


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_an_extension_stopped_anywhere_is_taken_up(stop: int, parent: Path, large: StudyRecord) -> None:
    spec = extended(Ledger.open(parent), families=10, name=f"stopped-{stop}")
    trained(parent, spec, stop=stop)
    ledger, _ = trained(parent, spec)
    assert told(study_record(ledger, spec.study)) == told(large)


def test_what_nobody_had_planned_is_exploratory(parent: Path) -> None:
    spec = extended(Ledger.open(parent), families=11)
    ledger, _ = trained(parent, spec)
    record = study_record(ledger, spec.study)
    now = evidence_status(record)
    assert now.kind == "exploratory"
    assert "11 task families, where it has no look (it has them after 8, 9, 10)" in now.reason
    with pytest.raises(EvidenceError, match="exploratory"):
        verdicts(record)
    page = build(record)[0]
    assert "EXPLORATORY" in page
    assert "What was measured" in page
    assert not any(f">{label}" in page or f"✓ {label}" in page for label in LABELS)
    theirs = {(*e.slot.cell, e.slot.phase, e.slot.index) for e in ledger.evaluations("racing")}
    ours = {(*e.slot.cell, e.slot.phase, e.slot.index) for e in ledger.evaluations(spec.study)}
    assert not theirs & ours
    again = extended(ledger, spec.study, families=12)
    trained(parent, again)
    now = evidence_status(study_record(ledger, "racing.families-11.families-12"))
    assert (now.kind, "racing.families-11 itself is exploratory" in now.reason) == ("exploratory", True)


def test_more_blocks_train_what_the_study_with_so_many_blocks_trains(parent: Path, tmp_path: Path) -> None:
    """Made-up results do not hang on the packs: configurations and streams are the same."""
    ledger, _ = trained(parent, extended(Ledger.open(parent), blocks=4, name="wide"))
    wide, _ = trained(tmp_path, racing(budget={**SMALL, "blocks": 4, "looks": []}))
    record = study_record(ledger, "wide")
    assert told(record) == told(study_record(wide, "racing"))
    assert (evidence_status(record).kind, "4 blocks instead of 2" in evidence_status(record).reason) == (
        "exploratory",
        True,
    )


def test_added_tasks_come_after_the_parents_own(tmp_path: Path) -> None:
    few = racing(budget=SMALL, tasks=list(BOOK)[:8])
    ledger, _ = trained(tmp_path, few)
    with pytest.raises(ValueError, match="declares tasks of 8 families"):
        extended(ledger, families=9)
    ledger, _ = trained(tmp_path, extended(ledger, families=9, tasks=["t10"]))
    record = study_record(ledger, "racing.families-9.tasks-9")
    assert "t10" in record.judged("initializer", "deep")
    assert "tasks that it did not declare (t10)" in evidence_status(record).reason


def test_the_study_file_says_the_same(parent: Path, tmp_path: Path) -> None:
    spec = extended(Ledger.open(parent), families=10)
    file = study_file(spec, tmp_path)
    assert load(file).resolved() == spec.resolved()
    assert comparison_protocol(load(file), BOOK).hash == comparison_protocol(spec, BOOK).hash


def test_challenged_blocks_are_taken_over_where_the_same_tasks_are_worst(tmp_path: Path) -> None:
    claim = {
        "id": "A1",
        "quote": "it always wins",
        "source": "001",
        "type": "always",
        "levels": ["glorot_normal", "he_normal"],
    }
    said: dict[str, Any] = {"claims": [claim], "regimes": {"deep": {"depth": 3}}}
    ledger, _ = trained(tmp_path / "small", racing(budget=SMALL, **said))
    before = study_record(ledger, "racing")
    assert before.fresh
    ledger, _ = trained(tmp_path / "small", extended(ledger, families=9))
    grown = study_record(ledger, "racing.families-9")
    whole, _ = trained(tmp_path / "large", racing(budget={**LARGE, "families": 9, "looks": [8, 10]}, **said))
    large = study_record(whole, "racing")
    assert told(grown) == told(large)
    assert (
        told(replace(large, evaluations=large.fresh)).items()
        <= told(replace(grown, evaluations=grown.fresh)).items()
    )
    assert [card.sentence for card in cards(grown)] == [card.sentence for card in cards(large)]


def test_the_external_check_is_each_studys_own(tmp_path: Path) -> None:
    budget = {**SMALL, "external": 1}
    ledger, _ = trained(tmp_path, racing(budget=budget))
    ledger, _ = trained(tmp_path, extended(ledger, families=9))
    first, second = study_record(ledger, "racing"), study_record(ledger, "racing.families-9")
    assert first.external is not None
    assert second.external is not None
    assert set(first.external.tasks.values()) == {("t8",)}
    assert set(second.external.tasks.values()) == {("t9",)}
    assert {row.slot.study for row in second.external.evaluations} == {"racing.families-9"}
    assert len(second.external.evaluations) == sum(second.external.planned.values())
    # t8 was piloted for the parent's check already.
    own = ledger.evaluations("racing.families-9")
    assert {row.slot.task for row in own if row.slot.phase == "pilot"} == {"t9"}


@pytest.mark.parametrize(
    "text", ["no", "1e-3", "012", "1:30", "~", "", ".inf", "a: b # c", "'\"\n\t é 😀", "true"]
)
def test_plain_data_is_read_back_as_it_was(text: str) -> None:
    data = {"title": text, "list": [text, 1, 1e-07, None, True], "empty": {"a": {}, "b": []}}
    assert parse_yaml(plain_text(data), "test") == data


def test_results_list_what_was_taken_over_and_who_trained_it(child: Ledger) -> None:
    table = rows(child, "racing.families-10", timings=True)
    counted = {name: sum(row["study"] == name for row in table) for name in ("racing", "racing.families-10")}
    assert counted["racing"] == len(child.evaluations("racing"))
    assert counted["racing.families-10"] == len(child.evaluations("racing.families-10"))


def test_a_study_that_is_not_complete_is_not_extended(tmp_path: Path) -> None:
    ledger, _ = trained(tmp_path, racing(budget=SMALL), stop=90)
    with pytest.raises(ValueError, match=r"is not complete .* run it to its end first"):
        extended(ledger, families=10)


@pytest.mark.parametrize(
    ("grown", "why"),
    [
        ({}, "nothing to add to 'racing'.*registered looks: 9, 10 families"),
        ({"families": 8}, "nothing to add"),
        ({"families": 7}, "an extension only adds"),
        ({"blocks": 1}, "an extension only adds"),
        ({"families": 99}, "declares tasks of 12 families"),
        ({"families": 9, "tasks": ["t3"]}, "is one of those that 'racing' declares"),
        ({"families": 9, "name": "racing"}, "cannot extend itself"),
        ({"families": 9, "name": "no/name"}, "characters A-Z"),
    ],
)
def test_extensions_that_add_nothing_or_cannot_be_are_refused(
    grown: dict[str, Any], why: str, parent: Path
) -> None:
    with pytest.raises(ValueError, match=why):
        extended(Ledger.open(parent), **grown)


Edit = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (lambda data: data["budget"].update(trials=3), "budget.trials"),
        (lambda data: data.update(alpha=0.1), "alpha"),
        (lambda data: data["setting"].update(width=8), "regimes"),
        (lambda data: data["extends"].update(protocol="0" * 20), "extends.protocol"),
        (lambda data: data["extends"].update(plan="0" * 20), "extends.plan"),
        (lambda data: data["extends"].update(root="other"), "extends.root"),
        (lambda data: data["extends"].update(study="other"), "extends.study"),
        (lambda data: data.update(tasks=list(reversed(data["tasks"]))), "tasks"),
    ],
)
def test_a_study_file_cannot_claim_a_parent_it_does_not_go_on_with(
    edit: Edit, key: str, parent: Path, tmp_path: Path
) -> None:
    file = study_file(extended(Ledger.open(parent), families=9, name="forged"), tmp_path)
    data: dict[str, Any] = read_yaml(file, "forged.yaml")
    edit(data)
    file.write_text(plain_text(data), encoding="utf-8")
    with pytest.raises(SpecError, match=key):
        refuse_unlike(comparison_protocol(load(file), BOOK), Ledger.open(parent))


def test_a_look_edited_in_by_hand_makes_no_evidence(tmp_path: Path) -> None:
    """Whoever says after the fact that a look was registered is compared with the parent's protocol."""
    ledger, _ = trained(tmp_path, racing(budget={**SMALL, "looks": []}))
    spec = extended(ledger, families=10)
    data: Mapping[str, Any] = spec.spec.model_dump(exclude_unset=True)
    forged = parse({**data, "budget": {**data["budget"], "looks": [8]}}, file="forged.yaml")
    ledger, _ = trained(tmp_path, forged)
    assert evidence_status(study_record(ledger, forged.study)).kind == "exploratory"


def test_a_changed_parent_ends_the_evidence_of_its_extension(tmp_path: Path) -> None:
    import sqlite3

    ledger, _ = trained(tmp_path, racing(budget=SMALL))
    ledger, _ = trained(tmp_path, extended(ledger, families=9))
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    with db:
        db.execute("UPDATE plans SET hash = 'ffffffffffffffffffff' WHERE study = 'racing'")
    db.close()
    with pytest.raises(ValueError, match="extends 'racing' with the plan"):
        study_record(ledger, "racing.families-9")


@pytest.mark.parametrize("looks", [[8], [9, 9], [10, 9], [4]])
def test_registered_looks_are_checked(looks: list[int]) -> None:
    with pytest.raises(SpecError, match=r"budget\.looks"):
        racing(budget={**SMALL, "looks": looks})


def test_alpha_is_spread_over_registered_looks_from_the_beginning() -> None:
    assert racing(budget=SMALL).effective_budget.looks == (8, 9, 10)
    assert racing(budget=SMALL).effective_budget.registered == (9, 10)
    assert racing(budget=LARGE).effective_budget.registered == ()


# Real trainings.

REAL: dict[str, Any] = {
    "study": "racing",
    "questions": [{"factor": "initializer", "levels": list(LEVELS)[:2]}],
    "regimes": {"shallow": {"depth": 1}},
    "setting": {"width": 8, "steps": 20, "batch_size": 16, "train_size": 100, "evaluations": 3},
    "background": {"optimizer": ["nesterov", "adamw", "rmsprop"]},
    "tasks": [f"t{i}" for i in range(9)],
}
CHEAP = {"blocks": 2, "trials": 1, "promoted": 1, "promote_seeds": 1, "confirm_seeds": 1}


def test_real_trainings_of_an_extension_are_those_of_the_larger_study_and_can_be_replayed(
    tmp_path: Path,
) -> None:
    def run(workspace: Path, spec: ResolvedStudy) -> Ledger:
        own = comparison_protocol(spec, BOOK)
        ledger, own = started(workspace, own)
        run_inline(agenda_of(ledger, own), BOOK)
        return ledger

    whole = parse({**REAL, "budget": {**CHEAP, "families": 9, "looks": [8]}}, file="whole.yaml")
    part = parse({**REAL, "budget": {**CHEAP, "families": 8, "looks": [9]}}, file="part.yaml")
    large = study_record(run(tmp_path / "whole", whole), "racing")
    ledger = run(tmp_path / "part", part)
    spec = child_spec(ledger, "racing", families=9)
    ledger = run(tmp_path / "part", spec)
    record = study_record(ledger, spec.study)
    assert told(record) == told(large)
    own = [e for e in ledger.evaluations(spec.study) if e.slot.phase == "confirm"]
    assert {e.slot.task for e in own} == {"t8"}
    (then,) = (e for e in own if (e.slot.block, e.slot.level, e.slot.index) == (1, "glorot_normal", 0))
    member = member_again(ledger, ledger.study(spec.study), then)
    (now,) = train_pack([member], BOOK["t8"](), device="cpu", diagnostics="none")
    assert np.isclose(now.validation_metric, then.validation_metric, atol=0.02)
    (other,) = train_pack([replace(member, root="")], BOOK["t8"](), device="cpu", diagnostics="none")
    assert other.curve[0].train_loss != pytest.approx(then.curve[0].train_loss, rel=1e-3)
