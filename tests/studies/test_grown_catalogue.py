"""The catalogue gets a level: studies of the others go on, and say what they said, to the byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from search_spaces.catalog import FACTORS
from studies.ledger.ledger import Ledger
from studies.ledger.protocol_comparison import comparable
from studies.load_study import load
from studies.resume_checks import refuse_changed
from studies.run import run
from studies.spec.errors import SpecError
from studies.spec.load import parse, shipped
from studies.spec.questions import ParsedQuestion
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import QuestionSpec
from tests.studies import grown
from tests.studies.planted import planned, started, tiny
from tests.studies.searches import seek
from tests.studies.tampering import unseal
from tests.studies.test_defaults_commands import STUDY
from tests.surroundings import THREADS

ROOT = Path(__file__).parents[2]
ASKED = {
    **STUDY,
    "questions": [
        {"factor": "initializer", "levels": ["he_normal", "torch_default"]},
        {"factor": "activation", "levels": ["relu", "tanh", "gelu"]},
    ],
    "background": {"optimizer": ["nesterov", "adamw"], "normalization": ["none", "batch_norm"]},
}
"""In the catalogue's order of cost its levels have others between them."""


def program(*words: str | Path) -> str:
    """What the program says in which the catalogue has grown; AssertionError unless all went well."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.studies.grown", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, **THREADS, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def catalogue_ranks(asked: ParsedQuestion, usual: float | None = None) -> Mapping[str, float]:
    """The costs that earlier versions hashed."""
    if asked.kind != "factor":
        return _dense(asked, usual)
    return {level: FACTORS[asked.name].level(level).cost_rank for level in asked.changes}


_dense = ParsedQuestion.cost


def test_of_every_factor_a_level_more_moves_no_hash_of_a_study_that_ships() -> None:
    assert all(grown.ADDED in grown.grown(factor).names for factor in FACTORS.values())
    assert {q.factor for name in shipped() for q in _questions(name)} >= set(FACTORS)
    assert json.loads(program("hashes")) == grown.hashes()


def _questions(name: str) -> tuple[QuestionSpec, ...]:
    spec = load(name)
    return spec.spec.questions if isinstance(spec, ResolvedStudy) else ()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", ["today's", "earlier"])
def test_a_finished_study_is_run_again_without_training_and_says_the_same(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose ledger was written when the catalogue's ranks were hashed, and nothing was sealed."""
    workspace, file = tmp_path / "ws", tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(ASKED, sort_keys=False), encoding="utf-8")
    with monkeypatch.context() as patch:
        if form == "earlier":
            patch.setattr(ParsedQuestion, "cost", catalogue_ranks)
        assert run(parse(ASKED), workspace=workspace, engine="inline").complete
        assert run(seek(tasks=["wine"], trials=18), workspace=workspace, engine="inline").complete
    if form == "earlier":
        unseal(workspace)
    before = tmp_path / "before"
    shutil.copytree(workspace, before)
    grown.written(before)

    told = json.loads(program("run", file, "--engine", "inline", "--json", "--workspace", workspace))
    assert (told["trained"], told["finished"]) == (0, told["planned"])
    program("written", workspace)
    for page in sorted((before / "reports").rglob("*.*")):
        if page.is_file() and page.parent != before / "reports":
            assert (workspace / page.relative_to(before)).read_bytes() == page.read_bytes(), page
    for kind in grown.FILES:
        assert (workspace / kind).read_bytes() == (before / kind).read_bytes(), kind
    with Ledger.open(workspace) as ledger:
        assert len(ledger.plans("tiny")) == 1
        assert ledger.check("tiny").faults == ()


def test_a_level_that_networks_of_ones_own_do_not_take_changes_no_other_study(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    more = replace(fixed, unhonoured={task: frozenset({"dropout=added_level"}) for task in fixed.unhonoured})
    refuse_changed(ledger.study("tiny"), more, workspace)
    own = replace(fixed, unhonoured={task: frozenset({"optimizer=adamw"}) for task in fixed.unhonoured})
    with pytest.raises(SpecError, match="unhonoured"):  # which the study does have
        refuse_changed(ledger.study("tiny"), own, workspace)


def test_the_order_of_cost_among_the_levels_asked_is_part_of_the_study(workspace: Path) -> None:
    """It settles ties: where it changes, the study is another one."""
    ledger, fixed = started(workspace)
    plain = comparable(fixed.plain())
    assert plain["spec"]["questions"][0]["cost"] == {"he_normal": 1, "torch_default": 0}
    assert comparable(plain) == plain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ParsedQuestion, "cost", lambda asked, _: {level: i for i, level in enumerate(asked.changes)}
        )
        other = planned(tiny())
        assert other.plain()["spec"]["questions"][0]["cost"] == {"he_normal": 0, "torch_default": 1}
        with pytest.raises(SpecError, match="cost"):
            refuse_changed(ledger.study("tiny"), other, workspace)
