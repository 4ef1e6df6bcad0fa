"""Controls are planned, trained, judged and replayed like any row, and stand beside the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports import validity_status
from reports.defaults.defaults_file import defaults
from reports.evidence.fairness_checks import EvidenceError
from reports.evidence.study_record import StudyRecord
from reports.evidence.validity import controls
from reports.export.formats import render
from reports.pages.index_page import write_index
from reports.pages.study_page import build
from reports.verdicts.fairness_certificate import certify
from reports.verdicts.verdict import verdicts
from studies.commands.pages import write_pages
from studies.commands.replay import replay
from studies.comparison.cost_estimate import outline
from studies.comparison.protocol import Chain, Protocol, protocol
from studies.comparison.record import spec_of, study_record
from studies.comparison.scheduler import ComparisonScheduler
from studies.comparison.stages import next_members
from studies.ledger.ledger import Ledger
from studies.run import run
from studies.spec import control_arms
from studies.spec.errors import SpecError
from studies.spec.load import parse, with_profile
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import Profile
from tests.studies.planted import (
    BOOK,
    TINY,
    Maker,
    agenda_of,
    outcome,
    planned,
    started,
    tiny,
    train,
    train_all,
)
from trainers.evaluation import Evaluation
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.tasks import TASKS

REAL: Mapping[str, Any] = {
    "study": "real",
    "title": "A few seconds",
    "questions": [{"factor": "initializer", "levels": ["he_normal", "torch_default"]}],
    "regimes": {"shallow": {"depth": 2}},
    "setting": {"width": 8, "steps": 60, "batch_size": 16, "train_size": 100, "evaluations": 3},
    "nuisance": ["learning_rate"],
    "fixed": {"optimizer": "adamw"},
    "tasks": ["wine", "breast_cancer", "digits"],
    "budget": {"families": 1, "blocks": 2, "trials": 2, "promoted": 1, "confirm_seeds": 1},
    "controls": True,
}
NAMES = ("a_a_pair", "placebo", "positive_control")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a small real study and its controls, complete."""
    workspace = tmp_path_factory.mktemp("controlled")
    assert run(parse(REAL), workspace=workspace, engine="inline").complete
    return workspace


def members(workspace: Path, factor: str, level: str) -> list[Evaluation]:
    with Ledger.open(workspace) as ledger:
        return [e for e in ledger.evaluations("real") if (e.slot.factor, e.slot.level) == (factor, level)]


def made_up(workspace: Path, spec: ResolvedStudy, make: Maker = outcome) -> StudyRecord:
    """That study with made-up results, complete."""
    ledger, fixed = started(workspace, planned(spec))
    with ledger:
        train_all(agenda_of(ledger, fixed), make=make)
        return study_record(ledger, spec.study)


# the file


def test_a_file_that_does_not_mention_controls_has_the_hash_it_had() -> None:
    assert "controls" not in tiny().resolved()
    assert planned(tiny(controls=False)).hash == planned(tiny()).hash != planned(tiny(controls=True)).hash


@pytest.mark.parametrize(
    ("said", "kinds", "where"),
    [
        (True, control_arms.ARMS, ("shallow",)),
        ({}, control_arms.ARMS, ("shallow",)),
        ({"kinds": ["a_a"]}, ["a_a"], ("shallow",)),
        ({"kinds": ["positive", "placebo"], "regimes": ["deep"]}, ["positive", "placebo"], ("deep",)),
        (False, (), ()),
        (None, (), ()),
    ],
)
def test_a_file_says_which_controls_are_run_and_where(said: Any, kinds: Any, where: tuple[str, ...]) -> None:
    spec = tiny(controls=said)
    found = [question for question in spec.asked if question.control]
    assert [question.control for question in found] == list(kinds)
    assert all(question.regimes == where for question in found)
    assert spec_of(spec.resolved()).resolved() == spec.resolved()


def test_larger_profiles_carry_controls_unless_the_file_says_otherwise() -> None:
    assert set(control_arms.PROFILES) == {"standard", "full"}
    profiles: tuple[Profile, ...] = ("standard", "full")
    for profile in profiles:
        budget = {**TINY["budget"], "profile": profile, "promoted": 1}
        assert "controls" in tiny(budget=budget).resolved()
        assert "controls" not in tiny(budget=budget, controls=False).resolved()
        assert "controls" in with_profile(tiny(budget={**TINY["budget"], "promoted": 1}), profile).resolved()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"controls": 3}, "controls: must be a mapping"),
        ({"controls": {"kinds": ["aa"]}}, r"controls.kinds\[0\]: .* 'a_a', 'placebo' or 'positive'"),
        ({"controls": {"kinds": []}}, "controls.kinds: .* at least 1"),
        ({"controls": {"kinds": ["a_a", "a_a"]}}, "'a_a' is listed twice"),
        ({"controls": {"regimes": ["wide"]}}, "unknown regime 'wide'"),
        ({"controls": {"arms": []}}, "unknown key 'arms'"),
        (
            {
                "controls": True,
                "questions": [{"factor": "placebo", "levels": {"a": {"width": 4}, "b": {"width": 8}}}],
            },
            "'placebo' is the name of a control",
        ),
    ],
)
def test_mistakes_about_controls_name_the_key_and_the_rule(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        tiny(**changes)


# the plan


def test_controls_are_run_on_the_first_families_only() -> None:
    fixed = planned(tiny(controls=True, budget={**TINY["budget"], "families": 20}))
    assert fixed.families("initializer") == 20
    assert fixed.families("placebo") == control_arms.FAMILIES


def test_what_is_planned_is_what_is_run(trained: Path) -> None:
    with Ledger.open(trained) as ledger:
        record = study_record(ledger, "real")
    assert outline(parse(REAL)).total == len(record.evaluations) == sum(record.planned.values())
    assert set(record.tasks) == {"initializer", *NAMES}


def test_a_study_interrupted_inside_its_controls_ends_like_one_that_was_not(tmp_path: Path) -> None:
    spec = tiny(controls=True)
    whole = made_up(tmp_path / "whole", spec)
    ledger, fixed = started(tmp_path / "cut", planned(spec))
    with ledger:
        agenda: ComparisonScheduler = agenda_of(ledger, fixed)
        for turn in range(10_000):
            if turn % 5 == 4:
                agenda = agenda_of(ledger, fixed)
            if (pack := agenda.next_pack()) is None:
                break
            train(agenda, pack)
        assert study_record(ledger, "tiny") == whole


# the members


def test_arms_share_their_data_and_their_design_but_no_stream(trained: Path) -> None:
    one, again = (members(trained, "a_a_pair", level) for level in ("one", "again"))
    first, second = ([e for e in rows if e.slot.phase == "retune"] for rows in (one, again))
    assert [e.config for e in first] == [e.config for e in second]
    assert not {e.curve for e in first} & {e.curve for e in second}


def test_the_placebo_is_read_by_nothing_and_only_its_streams_differ() -> None:
    fixed = planned(tiny(controls=True))
    salted = first_members(fixed, "placebo")
    task = BOOK["stripes"]()
    plain = {m.slot.level: train_pack([m], task)[0].curve for m in (replace(one, salt="") for one in salted)}
    keyed = {m.slot.level: train_pack([m], task)[0].curve for m in salted}
    assert plain["everything"] == plain["weights"]
    assert len({*plain.values(), *keyed.values()}) == 3


def first_members(fixed: Protocol, factor: str) -> list[Member]:
    found = next_members(fixed, Chain(factor=factor, task="stripes", regime="shallow"), {})
    return [m for m in found if (m.slot.block, m.slot.index) == (0, 1)]


@pytest.mark.parametrize("depth", [1, 6])
def test_the_worse_level_of_the_positive_control_learns_a_constant_at_best(depth: int) -> None:
    data = {**REAL, "regimes": {"only": {"depth": depth, "residual": True, "activation": "tanh"}}}
    fixed = protocol(parse(data), TASKS)
    task = TASKS["wine"]()
    found = next_members(fixed, Chain(factor="positive_control", task="wine", regime="only"), {})
    zeros = train_pack([m for m in found if (m.slot.level, m.slot.block) == ("zeros", 0)], task)
    classes = task.y[task.split("real", 0).validation]
    constants = [np.mean(classes != each) for each in range(3)]
    for evaluation in zeros:
        assert np.isclose(evaluation.validation_metric, constants, atol=1e-6).any()


def test_every_member_of_a_control_can_be_replayed(trained: Path) -> None:
    for name in NAMES:
        for level in next(q for q in parse(REAL).asked if q.factor == name).levels:
            for phase in ("retune", "confirm"):
                rows = [e for e in members(trained, name, level) if e.slot.phase == phase]
                found = replay(trained, rows[-1].id)
                assert found.same, found.lines()
                # A member of a pack and one alone may differ in a last bit, another stream in the first.
                then, now = found.then.curve[0].train_loss, found.now.curve[0].train_loss
                assert now == pytest.approx(then, rel=1e-4)


# the judgement


def test_controls_are_judged_and_never_answered(trained: Path, tmp_path: Path) -> None:
    with Ledger.open(trained) as ledger:
        record = study_record(ledger, "real")
    assert validity_status(record).kind == "evidence"
    assert [control.kind for control in controls(record)] == list(control_arms.ARMS)
    assert {v.factor for v in verdicts(record)} == {"initializer"}
    text = render(defaults(record, verdicts(record)), "yaml")
    html, _ = build(record)
    for name in NAMES:
        assert name not in text
        assert f"{name} in shallow" in html
    assert "ran no controls" not in html
    assert "controls" in {line.what for line in certify(record).lines}


def test_a_pair_of_equals_that_differs_invalidates_the_study_everywhere(tmp_path: Path) -> None:
    def biased(member: Member) -> Evaluation:
        noise = float(np.random.default_rng(int(member.slot.id[:8], 16)).normal(0, 1e-4))
        return outcome(member, error=0.1 + noise + (0.3 if member.slot.level == "again" else 0))

    spec = tiny(controls=True, budget={**TINY["budget"], "blocks": 16})
    record = made_up(tmp_path, spec, biased)
    assert validity_status(record).kind == "invalid"
    page, exported = write_pages(tmp_path, record)
    assert exported is None
    assert "INVALID" in page.read_text(encoding="utf-8")
    assert "INVALID" in write_index(page.parent.parent).read_text(encoding="utf-8")


def test_arms_that_share_their_streams_are_refused(trained: Path) -> None:
    """As a trainer would leave them that forgot the salt."""
    with Ledger.open(trained) as ledger:
        record = study_record(ledger, "real")
    twins = {e.slot: e for e in record.evaluations if (e.slot.factor, e.slot.level) == ("a_a_pair", "one")}
    forged = tuple(
        replace(twins[replace(e.slot, level="one")], slot=e.slot)
        if (e.slot.factor, e.slot.level) == ("a_a_pair", "again")
        else e
        for e in record.evaluations
    )
    sham = replace(record, evaluations=forged)
    assert validity_status(sham).kind == "refused"
    with pytest.raises(EvidenceError, match="could not fail"):
        verdicts(sham)
