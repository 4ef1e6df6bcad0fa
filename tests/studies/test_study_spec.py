"""A study file is data: what it says is resolved once, and every mistake is one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.statistics.compare import FEW_FAMILIES
from search_spaces.catalog import FACTORS
from studies.spec.errors import SpecError
from studies.spec.load import load, parse, shipped, with_profile
from studies.spec.sections import PROFILES
from tests.studies.planted import TINY, tiny
from trainers.tasks import FAMILIES

TEXT = """
study: mine
questions:
  - {factor: initializer, levels: [he_normal, torch_default]}
regimes: {shallow: {depth: 2}}
tasks: [digits, spirals]
"""


@pytest.mark.parametrize("name", [name for name in shipped() if name != "search"])
def test_a_shipped_study_is_valid_and_has_tasks_in_reserve(name: str) -> None:
    spec = load(name)
    assert spec.study == name
    assert set(spec.tasks) <= set(FAMILIES)
    reserve = 4 if spec.families >= FEW_FAMILIES else 1  # few tasks have a shape
    assert len({FAMILIES[task] for task in spec.tasks}) >= spec.families + reserve


def test_the_resolved_spec_is_plain_data_with_every_factor_in_one_place() -> None:
    spec = tiny()
    resolved = spec.resolved()
    assert json.loads(json.dumps(resolved)) == resolved
    placed = [q["factor"] for q in resolved["questions"]] + [*resolved["fixed"], *resolved["background"]]
    assert sorted(placed) == sorted(FACTORS)
    assert resolved["regimes"]["deep"] | {"depth": 1} == resolved["regimes"]["shallow"]
    assert resolved["budget"]["promote_seeds"] == PROFILES["quick"]["promote_seeds"]
    assert resolved["questions"][0]["textbook"]["deep"] == list(FACTORS["initializer"].textbook(3))


def test_a_file_reads_as_its_data(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        TEXT + "alpha: 1e-1\nnuisance: {learning_rate: {low: 1e-3, high: .5}}\n", encoding="utf-8"
    )
    spec = load(file)
    assert spec.alpha == 0.1
    span = spec.nuisance["learning_rate"]
    assert span is not None
    assert (span.low, span.high) == (1e-3, 0.5)
    assert load(str(file)).resolved() == spec.resolved()


def test_another_profile_keeps_what_the_file_states_itself() -> None:
    full = with_profile(tiny(budget={**TINY["budget"], "trials": 12}), "full")
    assert full.effective_budget.confirm_seeds == PROFILES["full"]["confirm_seeds"]
    assert (full.effective_budget.trials, full.families) == (12, TINY["budget"]["families"])
    assert tiny(budget={}).effective_budget.runs_per_cell == 15


Q = TINY["questions"][0]

MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an unknown key": ({"taks": []}, ("taks", "did you mean 'tasks'?")),
    "an unknown key in a question": (
        {"questions": [{**Q, "level": 1}]},
        ("questions[0].level", "did you mean 'levels'?"),
    ),
    "an unknown factor": (
        {"questions": [{**Q, "factor": "activatoin"}]},
        ("questions[0].factor", "'activation'?"),
    ),
    "an unknown level": (
        {"questions": [{**Q, "levels": ["he_normal", "he_norml"]}]},
        ("levels", "'he_normal'?"),
    ),
    "one level": ({"questions": [{**Q, "levels": ["he_normal"]}]}, ("questions[0].levels", "at least 2")),
    "a level twice": ({"questions": [{**Q, "levels": ["he_normal"] * 2}]}, ("'he_normal' is listed twice",)),
    "a factor asked twice": ({"questions": [Q, Q]}, ("questions[1].factor", "asked twice")),
    "asked and fixed": ({"fixed": {"initializer": "he_normal"}}, ("fixed.initializer", "cannot be fixed")),
    "fixed and background": ({"fixed": {"optimizer": "sgd"}}, ("fixed.optimizer", "background")),
    "an unknown fixed level": ({"fixed": {"activation": "rleu"}}, ("fixed.activation", "'relu'?")),
    "an empty background": ({"background": {"optimizer": []}}, ("background.optimizer", "at least 1")),
    "no regimes": ({"regimes": {}}, ("regimes",)),
    "an unknown setting": ({"regimes": {"deep": {"detph": 3}}}, ("regimes.deep", "'depth'?")),
    "a setting out of limits": (
        {"regimes": {"deep": {"depth": 0}}},
        ("regimes.deep", "depth = 0", "[1, 100]"),
    ),
    "a truth value as a number": ({"regimes": {"deep": {"depth": True}}}, ("regimes.deep", "True", "whole")),
    "a shared setting out of limits": (
        {"setting": {"width": -1}, "regimes": {"a": {}}},
        ("setting", "width = -1"),
    ),
    "a truth value in the budget": ({"budget": {"trials": True}}, ("budget.trials", "True", "whole number")),
    "a share in the budget": ({"budget": {"blocks": 1.5}}, ("budget.blocks", "1.5")),
    "more promoted than tried": ({"budget": {"trials": 1}}, ("budget.promoted", "trials = 1")),
    "an unknown profile": ({"budget": {"profile": "quik"}}, ("budget.profile", "'quick'")),
    "an unknown sampler": ({"sampler": "sobel"}, ("sampler", "'sobol'")),
    "a number no level opens": ({"nuisance": ["momentun"]}, ("nuisance", "'momentum'?")),
    "a number only others open": ({"nuisance": ["dropout_rate"]}, ("nuisance", "'dropout_rate'")),
    "a range beyond the catalogue": (
        {"nuisance": {"learning_rate": {"low": 1e-30, "high": 1e-1}}},
        ("nuisance.learning_rate", "limits", "1e-30"),
    ),
    "a range upside down": (
        {"nuisance": {"learning_rate": {"low": 0.1, "high": 0.01}}},
        ("nuisance.learning_rate",),
    ),
    "an infinite limit": (
        {"nuisance": {"learning_rate": {"low": 0.1, "high": float("inf")}}},
        ("nuisance.learning_rate.high", "finite"),
    ),
    "a task twice": ({"tasks": ["digits", "digits"]}, ("tasks", "twice")),
    "no tasks": ({"tasks": []}, ("tasks", "at least 1")),
    "a name with a slash": ({"study": "../x"}, ("study", "A-Z a-z 0-9 . _ -")),
    "a name of dots": ({"study": ".."}, ("study", "dots")),
    "a name that is a number": ({"study": 3}, ("study", "text")),
    "alpha of one": ({"alpha": 1.0}, ("alpha",)),
    "10^9 members": (
        {"budget": {"families": 1000, "blocks": 1000, "trials": 500}},
        ("budget", "at most 1000000"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_message_with_file_key_and_rule(name: str) -> None:
    changes, words = MISTAKES[name]
    with pytest.raises(SpecError) as caught:
        tiny(**changes)
    message = str(caught.value)
    assert message.startswith("tiny.yaml: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_a_missing_key_is_named() -> None:
    data = dict(TINY)
    del data["tasks"]
    with pytest.raises(SpecError, match=r"tiny.yaml: tasks: .*missing"):
        parse(data, file="tiny.yaml")


FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a key twice": (TEXT + "study: again\n", ("line 7", "'study' occurs twice")),
    "a key twice inside": (
        TEXT + "fixed: {activation: relu, activation: elu}\n",
        ("'activation' occurs twice",),
    ),
    "an anchor": (TEXT + "title: &x hello\n", ("line 7", "aliases")),
    "a tag": (TEXT + "title: !!python/object/apply:os.system [ls]\n", ("tag", "plain data")),
    "not a mapping": ("- 1\n- 2\n", ("mapping",)),
    "nothing": ("", ("mapping",)),
    "not YAML": (TEXT + "fixed: {activation: relu\n", ("not valid YAML",)),
    "nested without end": (TEXT + "title: " + "[" * 200 + "]" * 200, ("nested",)),
    "infinity": (TEXT + "alpha: .inf\n", ("alpha",)),
    "not a number": (TEXT + "alpha: .nan\n", ("alpha",)),
    "a number of 5000 digits": (TEXT + "pack_size: " + "9" * 5000, ("mine.yaml",)),
    "too large": (TEXT + "#" * 1_000_001, ("at most 1000000",)),
    "a word where YAML 1.1 sees a truth value": (TEXT + "fixed: {activation: on}\n", ("'on'",)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_plain_data_is_refused(name: str, tmp_path: Path) -> None:
    text, words = FILES[name]
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load(file)
    assert [word for word in ("mine.yaml", *words) if word not in str(caught.value)] == []


def test_an_unknown_study_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'quickstart'"):
        load("quickstrat")
    with pytest.raises(SpecError, match="no such file"):
        load(tmp_path)
    binary = tmp_path / "x.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="UTF-8"):
        load(binary)


def test_diagnostics_are_a_switch_outside_of_what_is_hashed() -> None:
    plain = load("quickstart")
    silent = parse({**plain.spec.model_dump(exclude_unset=True), "diagnostics": "none"})
    assert (plain.diagnostics, silent.diagnostics) == ("evidence", "none")
    assert silent.resolved() == plain.resolved()
    with pytest.raises(SpecError, match=r"diagnostics.*'evidence', 'ends' or 'none'"):
        parse({**plain.spec.model_dump(exclude_unset=True), "diagnostics": "all"})


def test_what_mlflow_shows_is_chosen_outside_of_what_is_hashed() -> None:
    plain = tiny()
    assert plain.tracking == "members"
    brief = parse({**plain.spec.model_dump(exclude_unset=True), "tracking": "cells"})
    assert brief.tracking == "cells"
    assert plain.resolved() == brief.resolved()
    with pytest.raises(
        SpecError, match=r"tracking.*'everything'.*'curves', 'members', 'evidence' or 'cells'"
    ):
        parse({**plain.spec.model_dump(exclude_unset=True), "tracking": "everything"})
