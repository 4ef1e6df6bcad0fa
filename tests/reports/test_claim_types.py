"""One table of claim types: every type is in it, says something of its own, and is judged by its own row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast, get_args

import pytest

from reports.claims.cards import ClaimCard, cards
from reports.claims.claim_types import TYPES, TypeOfClaim, type_of
from reports.claims.outcome import ClaimEvidence
from reports.evidence.claim import Claim
from reports.evidence.fairness_checks import FIXED_DESIGNS, evidence_status
from studies.spec.errors import SpecError
from studies.spec.load import parse
from studies.spec.sections import Sampler
from tests.reports.planted import LEVELS, noisy_errors, planted_study
from tests.reports.test_claim_cards import card_of, claim, study
from tests.studies.planted import TINY

OF_KEY: dict[str, Any] = {"direction": "better", "measure": "end.gap", "expected": 1.0, "tolerance": 0.5}


def made(type_: str) -> Claim:
    """A claim of that type with everything that it needs."""
    row = TYPES[type_]
    return claim(
        type=type_,
        levels=LEVELS[: row.levels[0]],
        regimes=("shallow", "deep")[: row.regimes],
        **{key: OF_KEY[key] for key in row.keys},
    )


def test_every_type_says_something_of_its_own() -> None:
    said = {type_: row.said(made(type_)) for type_, row in TYPES.items()}
    assert len(set(said.values())) == len(TYPES), said


@pytest.mark.parametrize("type_", TYPES)
def test_a_card_is_made_by_the_judge_of_its_type(type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By no other: each judge is replaced in turn, and only claims of its type notice."""
    heard: list[str] = []

    def judge(claim: Claim, _: ClaimEvidence) -> None:
        heard.append(claim.type)

    rows = cast(dict[str, TypeOfClaim], TYPES)
    monkeypatch.setitem(rows, type_, replace(rows[type_], judge=judge))
    monkeypatch.setattr("reports.claims.cards.challenge_of", lambda *_: None)
    record = study(*(made(one) for one in TYPES))
    found: dict[str, ClaimCard] = {card.type: card for card in cards(record)}
    assert heard == [type_]
    assert found[type_].verdict == "not_tested"


@pytest.mark.parametrize("type_", TYPES)
def test_a_study_file_takes_no_more_and_no_fewer_levels(type_: str) -> None:
    row: TypeOfClaim = TYPES[type_]
    names = ["he_normal", "torch_default", "glorot_normal", "lecun_normal"]
    for count in (row.levels[0] - 1, row.levels[1] + 1):
        if not 1 <= count <= len(names):
            continue
        said = {
            "id": "own-x", "quote": "q", "source": "s", "type": type_, "levels": names[:count],
            "regimes": ["shallow", "deep"][: row.regimes], **{key: OF_KEY[key] for key in row.keys},
        }  # fmt: skip
        asked = [{"factor": "initializer", "levels": names}]
        with pytest.raises(SpecError, match=f"a claim of type {type_} needs"):
            _ = parse({**TINY, "questions": asked, "claims": [said]}).claimed


def test_a_type_that_nobody_wired_is_an_error_and_never_judged_as_another() -> None:
    wrong = replace(claim(), type=cast(Any, "sometimes"))
    with pytest.raises(ValueError, match="unknown type of claim 'sometimes'"):
        type_of(wrong)
    with pytest.raises(ValueError, match="unknown type of claim 'sometimes'"):
        card_of(study(wrong))


@pytest.mark.parametrize("sampler", [*get_args(Sampler), "bohb"])
def test_only_designs_that_are_declared_fixed_carry_verdicts(sampler: str) -> None:
    """A sampler that comes later is exploratory until somebody has shown that it may be evidence."""
    record = replace(planted_study({"deep": noisy_errors([2, 2, 0])}), sampler=sampler)
    kind = evidence_status(record).kind
    assert (kind != "exploratory") == (sampler in ("sobol", "random"))
    assert FIXED_DESIGNS == ("sobol", "random")


def test_a_study_of_another_design_drops_no_level_and_has_no_external_check() -> None:
    budget = {"profile": "full", "families": 16, "looks": [8], "external": 8}
    racing = {**TINY, "budget": budget, "tasks": [f"task_{i}" for i in range(40)]}
    fixed = parse({**racing, "sampler": "sobol"})
    assert (fixed.effective_budget.looks, fixed.external) == ((8, 16), 8)
    for later in ("tpe", "gp"):
        other = parse({**racing, "sampler": later})
        assert (other.effective_budget.looks, other.external) == ((16,), 0)
