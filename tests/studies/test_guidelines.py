"""The two flagship studies: the textbook's table row by row, and the depth behind "if shallow, if deep"."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reports import validity_status
from reports.verdicts.verdict import verdicts
from search_spaces.catalog import FACTORS
from search_spaces.overrides import Overrides
from search_spaces.regularization_rows import BUNDLES
from studies.comparison.record import study_record
from studies.ledger.ledger import Ledger
from studies.run import run
from studies.spec.load import load, parse, shipped
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import PROFILES
from trainers.tasks import FAMILIES, ROLES

TEXTBOOK_ROWS = ("initializer", "activation", "normalization", "regularization", "optimizer", "schedule")
OUR_ROWS = ("weight_decay", "rate_of_dropout")
FLAGSHIPS = ("guidelines", "crossover")


def test_the_guidelines_have_every_row_of_the_textbooks_table_and_two_of_our_own() -> None:
    rows = [question.factor for question in load("guidelines").asked if not question.control]
    assert sorted(rows) == sorted((*TEXTBOOK_ROWS, *OUR_ROWS))


@pytest.mark.parametrize("regime", ["shallow", "deep"])
@pytest.mark.parametrize("row", TEXTBOOK_ROWS)
def test_a_row_of_the_textbook_compares_the_textbooks_set_with_rivals(row: str, regime: str) -> None:
    question = next(q for q in load("guidelines").asked if q.factor == row)
    textbook, levels = set(question.textbook[regime]), set(question.levels)
    assert textbook and textbook < levels
    assert len(levels) <= 4
    if row in FACTORS:
        assert FACTORS[row].framework_default in levels


def test_the_guidelines_carry_controls_and_an_external_check() -> None:
    spec = load("guidelines")
    assert {question.control for question in spec.asked} >= {"a_a", "placebo", "positive"}
    assert spec.external >= 8


def test_the_regimes_are_what_the_textbook_calls_shallow_and_deep() -> None:
    spec = load("guidelines")
    assert spec.settings("shallow").depth in (2, 3)
    assert spec.settings("deep").depth >= 12


def test_the_background_begins_with_the_textbooks_recipe_of_each_regime() -> None:
    spec = load("guidelines")
    for regime in spec.regimes:
        depth = spec.settings(regime).depth
        for factor, levels in spec.spec.backgrounds(regime).items():
            assert levels[0] in FACTORS[factor].textbook(depth), (regime, factor)
            assert len(levels) > 1


@pytest.mark.parametrize("name", FLAGSHIPS)
def test_its_budget_is_the_quick_profile(name: str) -> None:
    budget = load(name).effective_budget
    assert (budget.profile, budget.looks) == ("quick", (PROFILES["quick"]["families"],))
    assert budget.runs_per_cell == 15


@pytest.mark.parametrize("name", FLAGSHIPS)
def test_published_tables_come_first_and_enough_families_are_left(name: str) -> None:
    spec = load(name)
    used = {FAMILIES[task] for task in spec.tasks}
    assert len(used) >= 2 * spec.families
    kept = {family for task, family in FAMILIES.items() if ROLES[task] == "external"}
    assert len(kept - used) >= 8


def test_the_crossover_asks_at_five_depths() -> None:
    spec = load("crossover")
    assert sorted(spec.settings(regime).depth for regime in spec.regimes) == [2, 4, 8, 16, 30]
    assert {q.factor: set(q.levels) for q in spec.asked} == {
        "activation": {"relu", "silu"},
        "normalization": {"none", "batch_norm", "layer_norm"},
    }


def test_a_bundle_of_the_textbook_is_told_from_its_rivals() -> None:
    means = BUNDLES["regularization"].means
    assert means(Overrides(levels={"weight_decay": "none"}))
    assert means(Overrides(levels={"early_stopping": "patience", "weight_decay": "decoupled"}))
    assert not means(Overrides(levels={"weight_decay": "none", "dropout": "dropout"}))
    assert not means(Overrides(levels={"weight_constraint": "max_norm"}))
    assert not means(Overrides(setting={"train_size": 100}))


def _small(name: str) -> ResolvedStudy:
    """All rows and levels on one task with a few steps of a narrow network: the way, not the answer."""
    data = yaml.safe_load(shipped()[name].read_text(encoding="utf-8"))
    small = {"width": 16, "steps": 40, "evaluations": 4, "train_size": 300}
    depths = {regime: {"depth": 2} for regime in data["regimes"]}
    once = {"families": 1, "blocks": 1, "trials": 1, "promoted": 1, "promote_seeds": 1, "confirm_seeds": 1}
    return parse(
        {
            **data,
            "setting": {**data["setting"], **small},
            "regimes": depths,
            "tasks": ["digits"],
            "budget": once,
        },
        file=f"{name}.yaml",
    )


@pytest.mark.parametrize("name", FLAGSHIPS)
def test_it_runs_to_a_table_with_every_row_in_every_regime(name: str, workspace: Path) -> None:
    spec = _small(name)
    assert run(spec, workspace=workspace, engine="inline").complete
    with Ledger.open(workspace) as ledger:
        record = study_record(ledger, spec.study)
    now = validity_status(record)
    assert now.kind == "evidence", now.reason
    found = {(verdict.factor, verdict.regime) for verdict in verdicts(record)}
    assert found == {(question.factor, regime) for question in record.answered for regime in spec.regimes}
