"""Claims of a study file get their verdict, their card, and their place in the ledger of the workspace."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.claims.cards import ClaimCard, cards, read_cards
from reports.claims.ledger import entries, workspace_entries
from reports.evidence.claim import Claim
from reports.evidence.study_record import StudyRecord
from reports.pages.claim_pages import refresh
from reports.pages.index_page import noted, write_index
from reports.pages.study_page import build, write_report
from reports.statistics import claim_rules, reversals
from reports.statistics.compare import compare
from tests.browser import Browser
from tests.reports import reference
from tests.reports.planted import LEVELS, noisy_errors, planted_study
from tests.reports.test_study_page import HOSTILE, VERDICT_WORDS, Outline

TORCH, GLOROT, HE = LEVELS


def claim(**changes: Any) -> Claim:
    """He beats Glorot in deep nets, with some fields replaced."""
    return Claim(
        **{
            "id": "I5",
            "quote": "He trains what Glorot cannot",
            "source": "001",
            "type": "better",
            "factor": "initializer",
            "levels": (HE, GLOROT),
            "regimes": ("deep",),
            **changes,
        }
    )


def study(
    *said: Claim, errors: Mapping[str, NDArray[np.float64]] | None = None, **changes: Any
) -> StudyRecord:
    """A study in which He is two margins better when deep, and nothing differs when shallow."""
    errors = errors or {"shallow": noisy_errors([0, 0, 0], tau=0.1), "deep": noisy_errors([2, 2, 0])}
    return replace(planted_study(errors, **changes), claims=said or (claim(),))


def card_of(record: StudyRecord) -> ClaimCard:
    """Of its only claim."""
    (found,) = cards(record)
    return found


def verdict(means: list[float], **changes: Any) -> str:
    """What a claim is called where the levels differ by `means` margins in the deep regime."""
    spread = {"tau": 0.2, "block_sd": 0.4}
    return card_of(study(claim(**changes), errors={"deep": noisy_errors(means, **spread)})).verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("means", "type_", "expected"),
    [
        ([2, 2, 0], "better", "confirmed"),
        ([0, 0, 0], "better", "tied"),
        ([0, 0, 2], "better", "contradicted"),
        ([0, 0, 0], "equal", "confirmed"),
        ([2, 2, 0], "equal", "contradicted"),
        ([2, 2, 0], "usually", "confirmed"),
        ([0, 0, 2], "usually", "contradicted"),
        ([0, 0, 2], "always", "contradicted"),
        ([0, 0, 0], "always", "not_tested"),  # the challenge stage was not run
        ([2, 2, 0], "always", "not_tested"),
    ],
)
def test_two_levels_are_judged_by_the_claims_type(means: list[float], type_: str, expected: str) -> None:
    assert verdict(means, type=type_) == expected


@pytest.mark.parametrize(
    ("means", "expected"),
    [([4, 2, 0], "confirmed"), ([0, 0, 0], "tied"), ([0, 2, 0], "contradicted")],
)
def test_an_ordering_is_judged_pair_by_pair(means: list[float], expected: str) -> None:
    assert verdict(means, type="ordering", levels=(HE, GLOROT, TORCH)) == expected


@pytest.mark.parametrize(
    ("means", "direction", "expected"),
    [
        ([4, 2, 0], "better", "confirmed"),
        ([4, 2, 0], "worse", "contradicted"),
        ([0, 2, 4], "worse", "confirmed"),
        ([0, 0, 0], "worse", "tied"),
    ],
)
def test_more_of_something_is_judged_in_the_direction_that_is_claimed(
    means: list[float], direction: str, expected: str
) -> None:
    assert verdict(means, type="dose", levels=LEVELS, direction=direction) == expected


def test_a_claim_about_two_regimes_pairs_their_tasks() -> None:
    errors = {"shallow": noisy_errors([0, 0, 2], tau=0.2), "deep": noisy_errors([0, 2, 0], tau=0.2)}
    said = claim(type="regime", levels=(GLOROT, HE), regimes=("shallow", "deep"))
    found = card_of(study(said, errors=errors))
    assert found.verdict == "confirmed"
    assert found.margins == pytest.approx(4, abs=0.5)
    assert card_of(study(replace(said, levels=(HE, GLOROT)), errors=errors)).verdict == "contradicted"


def with_inside(record: StudyRecord, values: Mapping[str, Mapping[str, float]]) -> StudyRecord:
    """The record with these diagnostics of each level."""
    return replace(
        record,
        evaluations=tuple(replace(e, diagnostics=values.get(e.slot.level, {})) for e in record.evaluations),
    )


def test_how_often_levels_train_is_counted_over_confirm_members() -> None:
    record = study(claim(type="success_rate"))
    good, bad = ({"end.train_loss": loss, "trivial_loss": 2.0} for loss in (0.4, 1.9))
    found = card_of(with_inside(record, {HE: good, GLOROT: bad}))
    assert (found.verdict, found.points) == ("confirmed", 100.0)
    assert "he_normal trained in 64 of 64 members, glorot_normal in 0 of 64" in found.sentence
    turned = card_of(with_inside(record, {HE: bad, GLOROT: good}))
    assert (turned.verdict, turned.p < 1e-6) == ("contradicted", True)
    assert card_of(record).verdict == "not_tested"


def test_an_exact_statement_is_measured_in_every_member() -> None:
    said = claim(type="exact", levels=(HE,), measure="init.signal_factor", expected=1.0, tolerance=0.05)
    near, far = ({"init.signal_factor": value} for value in (1.02, 0.5))
    assert card_of(with_inside(study(said), {HE: near})).verdict == "confirmed"
    assert card_of(with_inside(study(said), {HE: far})).verdict == "contradicted"


def test_the_numbers_of_a_card_agree_with_a_second_computation() -> None:
    record = study()
    found = card_of(record)
    values = reference.family_means(noisy_errors([2, 2, 0]), [0.02] * 8, list(range(8)), 1, 2)
    low, high = reference.bounds(values, 0.05 / 2)
    assert found.margins == pytest.approx(np.mean(values))
    assert found.interval == pytest.approx((low, high))
    assert found.p == pytest.approx(reference.state_p("better", values))
    assert found.points == pytest.approx(100 * float((noisy_errors([2, 2, 0])[..., 1:] @ [1, -1]).mean()))
    assert (found.families, found.blocks, found.seeds, found.trials) == (8, 4, 2, 4)
    assert found.runs == 2 * 8 * 4 * record.budget.runs_per_cell
    assert found.core_hours is None
    timed = replace(record, core_seconds={("initializer", "deep", level): 3600.0 for level in LEVELS})
    assert card_of(timed).core_hours == 2.0


def test_a_claim_is_bounded_by_its_own_levels_not_by_those_of_its_question() -> None:
    errors = noisy_errors([2, 0.9, 0], seed=4)
    all_three = compare(errors, np.full(8, 0.02), np.arange(8), alpha=0.05)
    two = compare(errors[..., [2, 1]], np.full(8, 0.02), np.arange(8), alpha=0.05)
    assert claim_rules.between(two, 0, 1).lower > claim_rules.between(all_three, 2, 1).lower


def test_a_contradicted_claim_names_tasks_learning_rates_and_a_replay() -> None:
    record = study(claim(levels=(GLOROT, HE)))
    found = card_of(record)
    assert found.verdict == "contradicted"
    values = [w.margins for w in found.witnesses]
    assert len(values) == reversals.WORST
    assert values == sorted(values)
    assert values[0] < 0
    witness = found.witnesses[0]
    by_id = {e.id: e for e in record.evaluations}
    for level, id_, span in zip(witness.levels, witness.replay, witness.rates, strict=True):
        slot = by_id[id_].slot
        assert (slot.task, slot.level, slot.phase) == (witness.task, level, "confirm")
        assert span is not None
        assert span[0] <= by_id[id_].config.numbers["learning_rate"] <= span[1]
    text = Outline(build(record)[0]).text
    assert f"groundrules replay {witness.replay[0]}" in text
    assert f"Against it: {witness.task} by" in text


def test_below_eight_families_a_verdict_names_its_tasks_and_usually_needs_more() -> None:
    errors = {"deep": noisy_errors([3, 3, 0], tasks=2, tau=0.1, block_sd=0.1)}
    found = card_of(study(errors=errors))
    assert (found.verdict, found.where) == ("confirmed", "on task_0, task_1")
    assert (found.prediction, found.improve) == (None, None)
    assert card_of(study(claim(type="usually"), errors=errors)).verdict == "insufficient"
    assert "on task_0, task_1" in Outline(build(study(errors=errors))[0]).text


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ({"network": "cnn"}, "it speaks of network cnn; here network is mlp"),
        ({"depth": {"low": 30}}, "it speaks of depth at least 30; here depth is 20"),
        ({"depth": {"low": 2, "high": 4}}, "it speaks of depth at least 2 and at most 4; here depth is 20"),
    ],
)
def test_outside_of_its_scope_a_claim_is_not_tested(scope: dict[str, Any], reason: str) -> None:
    found = card_of(study(claim(scope=scope, levels=(GLOROT, HE))))
    assert (found.verdict, found.reason) == ("not_tested", f"{reason} (deep)")
    assert entries([found])[0].adjusted is None


def test_within_its_scope_it_is_tested() -> None:
    assert card_of(study(claim(scope={"network": "mlp", "depth": {"low": 8}}))).tested


def test_an_unfinished_study_lists_its_claims_without_a_verdict_word() -> None:
    record = study()
    unfinished = replace(record, evaluations=record.evaluations[:-5])
    assert (card_of(unfinished).verdict, card_of(unfinished).p) == ("not_tested", 1.0)
    text = Outline(build(unfinished)[0]).text
    assert "He trains what Glorot cannot" in text
    assert "Not tested: the study is not complete" in text
    assert VERDICT_WORDS.findall(text) == []


def test_a_study_without_claims_has_no_cards_and_no_files(tmp_path: Path) -> None:
    write_report(planted_study({"deep": noisy_errors([2, 2, 0])}), tmp_path)
    assert not list(tmp_path.glob("claims.*"))
    assert "claims" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_cards_come_back_from_their_file_and_as_a_table(tmp_path: Path) -> None:
    record = study(claim(), claim(id="I15", quote="=1+1", levels=(GLOROT, HE)), claim(scope={"depth": 3}))
    write_report(record, tmp_path)
    assert read_cards(tmp_path) == cards(record)
    rows = list(csv.DictReader((tmp_path / "claims.csv").open(encoding="utf-8")))
    assert [row["verdict"] for row in rows] == ["confirmed", "contradicted", "not_tested"]
    assert rows[1]["quote"] == "'=1+1"


@pytest.mark.parametrize("text", ["", "{", "[1]", "[{}]", "{}", "null"])
def test_cards_of_another_version_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text(text, encoding="utf-8")
    assert read_cards(tmp_path) == ()


def weak(number: int) -> StudyRecord:
    """A study that says 'confirmed' of one claim, though barely."""
    base = noisy_errors([0, 0, 0], tau=0.0, block_sd=0.0, tasks=8)
    spread = np.linspace(-2.3, 2.3, 8)[:, None] * 0.02
    base[..., 1] += 1.45 * 0.02 + spread
    return replace(study(errors={"deep": base}, name=f"weak_{number}"))


def test_many_claims_withdraw_what_one_study_alone_would_say(tmp_path: Path) -> None:
    barely = card_of(weak(0))
    assert barely.verdict == "confirmed"
    assert 0.01 < barely.p < 0.025
    (alone,) = entries([barely])
    assert alone.verdict == "confirmed"
    others = [replace(barely, verdict="insufficient", p=1.0)] * 5
    together = entries([barely, *others])
    assert (together[0].verdict, together[0].tested) == ("insufficient", 6)
    adjusted = together[0].adjusted
    assert adjusted is not None
    assert adjusted.withdrawn
    assert adjusted.hochberg == pytest.approx(reference.step_up([barely.p, *[1.0] * 5])[0])
    assert adjusted.yekutieli > adjusted.hochberg


def test_a_new_study_brings_the_cards_of_all_others_up_to_date(tmp_path: Path) -> None:
    first = weak(0)
    idle = [claim(id=f"I{n}", levels=(TORCH, GLOROT), quote=f"claim {n}") for n in range(1, 6)]
    second = study(*idle, errors={"deep": noisy_errors([1, 0, 0], tau=2.0)}, name="second")
    for record in (first, second):
        write_report(record, tmp_path / record.name)
        noted(record, tmp_path / record.name)
    before = (tmp_path / first.name / "index.html").read_text(encoding="utf-8")
    refresh(tmp_path)
    page = (tmp_path / first.name / "index.html").read_text(encoding="utf-8")
    assert "Among the 1 tested claim of this workspace: confirmed" in Outline(before).text
    assert "This study alone: confirmed" in Outline(page).text
    assert "Among the 6 tested claims of this workspace: insufficient evidence" in Outline(page).text
    write_report(first, tmp_path / first.name)
    refresh(tmp_path)
    assert (tmp_path / first.name / "index.html").read_text(encoding="utf-8") == page
    index = Outline(write_index(tmp_path).read_text(encoding="utf-8"))
    assert "The ledger of claims" in index.text
    assert "6 tested" in index.text
    assert {"weak_0/index.html#claims", "second/index.html#claims"} <= set(index.references)
    assert len(workspace_entries(tmp_path)) == 6


def test_hostile_quotes_are_shown_and_never_run(tmp_path: Path) -> None:
    evil = f"{HOSTILE} <!-- end of claims --> </section>"
    record = study(claim(quote=evil, source=HOSTILE))
    write_report(record, tmp_path / record.name)
    refresh(tmp_path)
    outline = Outline((tmp_path / record.name / "index.html").read_text(encoding="utf-8"))
    assert "script" not in outline.tags
    assert "<!-- end of claims -->" in outline.text
    assert (
        json.loads((tmp_path / record.name / "claims.json").read_text(encoding="utf-8"))[0]["quote"] == evil
    )
    assert "script" not in Outline(write_index(tmp_path).read_text(encoding="utf-8")).tags


@pytest.mark.parametrize("width", [400, 1300])
def test_cards_and_ledger_fit_a_phone_and_a_desk(width: int, chromium: Browser, tmp_path: Path) -> None:
    long = "a_very_long_quote_without_any_space_" * 6
    said = [claim(levels=(GLOROT, HE), quote=long), claim(type="ordering", levels=(HE, GLOROT, TORCH))]
    record = study(*said, claim(scope={"network": "cnn"}))
    write_report(record, tmp_path / record.name)
    noted(record, tmp_path / record.name)
    index = write_index(tmp_path)
    chromium.resize(width, 1200)
    for page in (tmp_path / record.name / "index.html", index):
        chromium.open(f"{page.as_uri()}#claims")
        assert long in chromium.text()
        assert chromium.script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert chromium.complaints() == []
