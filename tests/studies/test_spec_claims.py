"""Claims in a study file are data, checked against its questions, and part of what is fixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search_spaces.config import digest
from studies.cli import invoke
from studies.comparison.record import study_record
from studies.ledger.ledger import Ledger
from studies.spec.errors import SpecError
from studies.spec.load import load, shipped
from tests.studies.planted import TINY, agenda_of, planned, started, tiny, train_all

SAID: dict[str, Any] = {
    "id": "I5",
    "quote": "He trains deep nets that the default cannot",
    "source": "001",
    "type": "better",
    "levels": ["he_normal", "torch_default"],
    "regimes": ["deep"],
}
THREE = {"factor": "initializer", "levels": ["he_normal", "he_uniform", "torch_default"]}
EXACT = {"type": "exact", "levels": ["he_normal"], "measure": "init.signal_factor", "expected": 1.0}

MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an unknown key": ({"quot": "x"}, ("claims[0].quot", "did you mean 'quote'?")),
    "no quote": ({"quote": ""}, ("claims[0].quote",)),
    "a number as a source": ({"source": 1}, ("claims[0].source: 1 must be text",)),
    "a claim of no catalogue": ({"id": "I22"}, ("claims[0].id", "'I22'", "I1-I21", "own-NAME")),
    "a claim of no letter": ({"id": "Z1"}, ("claims[0].id", "'Z1'")),
    "an unknown type": ({"type": "best"}, ("claims[0].type", "'best'", "'better'")),
    "an unknown question": ({"factor": "activation"}, ("claims[0].factor", "Allowed: initializer")),
    "an unknown level": (
        {"levels": ["he_normal", "torch_defalt"]}, ("claims[0].levels", "did you mean 'torch_default'?"),
    ),
    "a level twice": ({"levels": ["he_normal", "he_normal"]}, ("claims[0].levels", "listed twice")),
    "one level": ({"levels": ["he_normal"]}, ("claims[0].levels", "exactly 2 levels, not 1")),
    "an ordering of two": ({"type": "ordering"}, ("claims[0].levels", "at least 3 levels, not 2")),
    "an unknown regime": ({"regimes": ["depe"]}, ("claims[0].regimes", "did you mean 'deep'?")),
    "no regime of two": ({"regimes": []}, ("claims[0].regimes", "about 1 regime, not 0", "shallow, deep")),
    "one regime of two": ({"type": "regime"}, ("claims[0].regimes", "about 2 regimes, not 1")),
    "a direction of a pair": ({"direction": "better"}, ("claims[0].direction", "only a claim of type dose")),
    "an exact claim without a number": (
        {**EXACT, "tolerance": 0.1, "expected": None}, ("claims[0].expected", "needs it"),
    ),
    "no tolerance": ({**EXACT, "tolerance": 0.0}, ("claims[0].tolerance", "0 must be above 0")),
    "an unknown measure": (
        {**EXACT, "tolerance": 0.1, "measure": "init.signal"}, ("claims[0].measure", "'init.signal_factor'"),
    ),
    "an unknown setting": ({"scope": {"dept": 3}}, ("claims[0].scope", "did you mean 'depth'?")),
    "limits of a word": ({"scope": {"network": {"low": 1}}}, ("claims[0].scope.network",)),
    "no limits": ({"scope": {"depth": {}}}, ("claims[0].scope.depth",)),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_message(name: str) -> None:
    changes, words = MISTAKES[name]
    with pytest.raises(SpecError) as caught:
        tiny(claims=[{**SAID, **changes}])
    message = str(caught.value)
    assert message.startswith("tiny.yaml: claims[0]")
    for word in words:
        assert word in message
    assert "\n" not in message


def test_what_no_single_claim_shows() -> None:
    with pytest.raises(SpecError, match=r"claims\[1\]: states the same as claims\[0\]"):
        tiny(claims=[SAID, {**SAID, "quote": "in other words"}])
    with pytest.raises(SpecError, match="no claim is ever judged"):
        tiny(claims=[SAID], sampler="tpe")
    with pytest.raises(SpecError, match="which this study records none of"):
        tiny(claims=[{**SAID, "type": "success_rate"}], diagnostics="none")
    two = [TINY["questions"][0], {"factor": "activation", "levels": ["relu", "tanh"]}]
    with pytest.raises(SpecError, match="say which question: initializer, activation"):
        tiny(claims=[SAID], questions=two)
    assert tiny(claims=[{**SAID, "factor": "initializer"}], questions=two).claimed[0].levels[0] == "he_normal"


def test_what_a_file_leaves_out_is_filled_in() -> None:
    one = tiny(
        claims=[{key: value for key, value in SAID.items() if key != "regimes"}],
        regimes={"deep": {"depth": 3}},
    )
    (claim,) = one.claimed
    assert (claim.factor, claim.regimes) == ("initializer", ("deep",))
    assert tiny(claims=[{**SAID, "id": "own-folklore"}]).claimed[0].id == "own-folklore"
    dose = {**SAID, "type": "dose", "levels": [0, 0.1, 0.2], "direction": "worse"}
    rates = tiny(
        claims=[dose],
        questions=[{"factor": "dropout_rate", "levels": [0, 0.1, 0.2]}],
        fixed={"dropout": "dropout", "schedule": "one_cycle"},
    )
    assert rates.claimed[0].levels == ("0", "0.1", "0.2")


def test_claims_are_fixed_before_training_and_change_nothing_else() -> None:
    without, with_claim = tiny(), tiny(claims=[SAID])
    assert "claims" not in without.resolved()
    assert digest(without.resolved()) != digest(with_claim.resolved())
    other = tiny(claims=[{**SAID, "quote": "in other words"}])
    assert planned(other).hash != planned(with_claim).hash != planned(without).hash
    said = with_claim.resolved()
    assert json.loads(json.dumps(said)) == said
    assert said | {"claims": None} == without.resolved() | {"claims": None}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A complete small study with made-up results and three claims."""
    said = [
        SAID,
        {**SAID, "type": "equal", "regimes": ["shallow"]},
        {**SAID, "scope": {"depth": {"low": 9}}, "id": "own-deep"},
    ]
    ledger, fixed = started(tmp_path, planned(tiny(claims=said)))
    with ledger:
        train_all(agenda_of(ledger, fixed))
    return tmp_path


def test_a_record_brings_back_the_claims_and_what_their_levels_took(workspace: Path) -> None:
    with Ledger.open(workspace) as ledger:
        record = study_record(ledger, "tiny")
        packs = {e.pack_id for e in ledger.committed_after("tiny", 0, 10_000)}
    assert [claim.type for claim in record.claims] == ["better", "equal", "better"]
    assert record.claims[2].scope == {"depth": {"low": 9}}
    # Every pack took a made-up second; the pilot's stand under no question.
    assert sum(record.core_seconds.values()) == pytest.approx(len(packs))


def test_the_command_lists_what_the_pages_show(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["report", "tiny", "--workspace", str(workspace)]) == 0
    capsys.readouterr()
    assert invoke(["claims", "--workspace", str(workspace), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    beside = json.loads((workspace / "reports" / "tiny" / "claims.json").read_text(encoding="utf-8"))
    assert told["tested"] == 2
    assert [{key: one[key] for key in beside[0]} for one in told["claims"]] == beside
    assert [one["stands"] for one in told["claims"]][2] == "not_tested"
    assert all(one["ledger"] is not None for one in told["claims"][:2])
    assert invoke(["claims", "--workspace", str(workspace)]) == 0
    said = capsys.readouterr().out
    assert "“He trains deep nets that the default cannot” (001)" in said
    assert "not tested: it speaks of depth at least 9; here depth is 3 (deep)" in said
    assert "among 2 tested claims" in said


def test_a_study_without_a_plan_waits_and_one_without_claims_is_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, _ = started(tmp_path, planned(tiny(claims=[SAID])))
    ledger.close()
    assert invoke(["claims", "--workspace", str(tmp_path)]) == 0
    assert "study tiny: 1 claims wait for its pilot" in capsys.readouterr().out
    ledger, _ = started(tmp_path / "b")
    ledger.close()
    assert invoke(["claims", "--workspace", str(tmp_path / "b")]) == 0
    assert "has claims" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in shipped() if name != "search"])
def test_claims_of_shipped_studies_are_of_the_catalogue(name: str) -> None:
    for claim in load(name).claimed:
        assert not claim.id.startswith("own-")
        assert claim.quote
