"""Everything the trainer can be told can be asked, held, tuned or put into a regime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports import validity_status
from reports.defaults.defaults_file import defaults
from reports.export.formats import render
from reports.pages.study_page import build
from reports.verdicts.verdict import verdicts
from search_spaces.overrides import Overrides
from studies.comparison.meaningless_levels import examine
from studies.comparison.protocol import Chain, Protocol
from studies.comparison.record import spec_of, study_record
from studies.spec.errors import SpecError
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from tests.studies.planted import BOOK, TINY, agenda_of, planned, started, tiny, train_all

COMBINATIONS = {
    "none": {},
    "decay": {"weight_decay": ["decoupled", 0.1]},
    "both": {"weight_decay": "decoupled", "dropout": "dropout", "width": 8},
}

STUDIES: dict[str, dict[str, Any]] = {
    "a number": {
        "questions": [{"factor": "dropout_rate", "levels": [0.1, 0, 0.5]}],
        "fixed": {"dropout": "dropout"},
    },
    "a number with a factor's name": {
        "questions": [{"factor": "weight_decay", "levels": [0.01, 0.1]}],
        "fixed": {"weight_decay": "decoupled"},
    },
    "a setting": {"questions": [{"factor": "batch_size", "levels": [16, 8]}]},
    "the depth": {"questions": [{"factor": "depth", "levels": [1, 3]}], "regimes": {"small": {"width": 4}}},
    "the training size": {"questions": [{"factor": "train_size", "levels": [16, 32]}]},
    "a switch": {"questions": [{"factor": "residual", "levels": [True, False]}]},
    "combinations": {
        "questions": [{"factor": "regularization", "levels": COMBINATIONS}],
        "nuisance": ["learning_rate", "weight_decay"],
    },
    "regimes of levels and numbers": {
        "regimes": {
            "leaky": {"activation": "leaky_relu", "negative_slope": 0.2, "depth": 1},
            "normed": {"normalization": "layer_norm"},
        }
    },
    "a fixed number": {"fixed": {"dropout": "dropout", "dropout_rate": 0.1}},
    "a tuned setting": {"nuisance": {"learning_rate": None, "batch_size": {"low": 4, "high": 16}}},
    "several at once": {
        "questions": [*TINY["questions"], {"factor": "width", "levels": [4, 8]}],
        "nuisance": {"learning_rate": None, "batch_size": {"low": 4, "high": 16}},
    },
}


def of(name: str, **more: Any) -> ResolvedStudy:
    return tiny(**{**STUDIES[name], **more})


def chain(factor: str, regime: str = "deep") -> Chain:
    return Chain(factor=factor, task="stripes", regime=regime)


@pytest.mark.parametrize("name", STUDIES)
def test_such_a_study_runs_to_its_page_and_its_defaults(name: str, workspace: Path) -> None:
    """Made-up results, real plan, ledger and reports."""
    spec = of(name)
    ledger, fixed = started(workspace, planned(spec))
    with ledger:
        train_all(agenda_of(ledger, fixed))
        record = study_record(ledger, spec.study)
    assert validity_status(record).kind == "evidence"
    assert record.questions == spec.asked
    found = verdicts(record)
    assert {(v.factor, v.regime) for v in found} == {
        (q.factor, regime) for q in spec.asked for regime in spec.regimes
    }
    html, _ = build(record)
    for format in ("yaml", "json", "markdown"):
        text = render(defaults(record, found), format)
        for question in spec.asked:
            for level, meaning in question.meanings.items():
                assert f"{level}</strong> ({meaning})" in html
                if level in {v.recommended for v in found if v.factor == question.factor}:
                    assert f"{level} means {meaning}" in " ".join(text.split())
            assert question.factor in text
            assert question.factor in html


@pytest.mark.parametrize("name", STUDIES)
def test_a_ledger_gives_the_same_study_back(name: str) -> None:
    spec = of(name)
    resolved = spec.resolved()
    stored = json.loads(json.dumps(resolved))
    assert stored == resolved
    assert spec_of(stored).resolved() == resolved


@pytest.mark.parametrize("name", STUDIES)
def test_levels_differ_in_what_is_asked_and_in_nothing_else(name: str) -> None:
    fixed = planned(of(name))
    for question in fixed.spec.asked:
        for regime in fixed.spec.regimes:
            rest = set()
            for level in question.levels:
                config = fixed.config(chain(question.factor, regime), level)
                stated = question.change(level)
                assert stated.levels.items() <= config.levels.items()
                assert stated.numbers.items() <= config.numbers.items()
                assert stated.setting.items() <= vars(config.setting).items()
                kept = {("factor", n): v for n, v in config.levels.items()}
                kept |= {("setting", n): v for n, v in vars(config.setting).items()}
                rest.add(tuple((part, value) for part, value in kept.items() if part not in question.parts))
            assert len(rest) == 1


def test_the_cheaper_level_stands_first() -> None:
    def order(name: str) -> tuple[str, ...]:
        return of(name).asked[0].by_cost

    assert order("a number") == ("0.5", "0.1", "0")  # the library's 0.5, then as listed
    assert order("a setting") == ("8", "16")
    assert order("a switch") == ("false", "true")
    assert order("combinations") == ("none", "decay", "both")


def test_what_the_textbook_has_no_row_for_is_not_measured_against_it() -> None:
    for name in ("a number", "a setting"):
        assert set(of(name).asked[0].textbook.values()) == {()}
    free = of("combinations", questions=[{"factor": "ways", "levels": COMBINATIONS}])
    assert set(free.asked[0].textbook.values()) == {()}


def test_combinations_under_the_name_of_a_textbooks_row_are_measured_against_it() -> None:
    assert set(of("combinations").asked[0].textbook.values()) == {("none", "decay")}


def test_a_regime_changes_levels_numbers_and_settings_together() -> None:
    fixed = planned(of("regimes of levels and numbers"))
    leaky = fixed.config(chain("initializer", "leaky"), "he_normal")
    normed = fixed.config(chain("initializer", "normed"), "he_normal")
    assert (leaky.levels["activation"], leaky.numbers["negative_slope"], leaky.setting.depth) == (
        "leaky_relu",
        0.2,
        1,
    )
    assert (normed.levels["activation"], normed.levels["normalization"]) == ("relu", "layer_norm")
    assert "negative_slope" not in normed.numbers


def test_a_number_that_a_level_states_is_not_searched_there() -> None:
    fixed = planned(of("combinations"))
    searched = {level: list(fixed.searched(chain("regularization"), level)) for level in COMBINATIONS}
    assert searched == {
        "none": ["learning_rate"],
        "decay": ["learning_rate"],
        "both": ["learning_rate", "weight_decay"],
    }


def test_a_fixed_number_is_held_for_every_level_and_arm() -> None:
    fixed = planned(of("a fixed number"))
    for level in ("he_normal", "torch_default"):
        assert (
            fixed.config(chain("initializer"), level, {"learning_rate": 0.5}).numbers["dropout_rate"] == 0.1
        )


def test_a_rate_that_is_asked_about_is_not_tuned_unless_somebody_says_so() -> None:
    data = {key: value for key, value in TINY.items() if key != "nuisance"}
    asked = parse({**data, "questions": [{"factor": "learning_rate", "levels": [0.01, 0.1]}]})
    assert asked.nuisance == {}
    with pytest.raises(SpecError, match="cannot be tuned too"):
        tiny(questions=[{"factor": "learning_rate", "levels": [0.01, 0.1]}])


def test_a_tuned_setting_is_whole_within_its_limits_and_starts_at_the_studys_own(workspace: Path) -> None:
    ledger, fixed = started(workspace, planned(of("a tuned setting")))
    with ledger:
        train_all(agenda_of(ledger, fixed))
        rows = ledger.evaluations("tiny")
    searched = [e for e in rows if e.slot.phase == "retune"]
    sizes = {e.config.setting.batch_size for e in searched if e.slot.index > 0}
    assert {type(size) for size in sizes} == {int}
    assert 4 <= min(sizes) <= max(sizes) <= 16
    assert len(sizes) > 1
    assert {e.config.setting.batch_size for e in rows if e.arm == "default"} == {8}


def test_levels_share_their_design_when_a_setting_is_tuned(workspace: Path) -> None:
    ledger, fixed = started(workspace, planned(of("a tuned setting")))
    with ledger:
        train_all(agenda_of(ledger, fixed))
        rows = [e for e in ledger.evaluations("tiny") if e.slot.phase == "retune"]
    by_level = {
        level: [
            (e.slot.task, e.slot.regime, e.slot.block, e.slot.index, e.config.setting, dict(e.config.numbers))
            for e in rows
            if e.slot.level == level
        ]
        for level in ("he_normal", "torch_default")
    }
    assert len(by_level["he_normal"]) == len(by_level["torch_default"]) > 0
    for one, other in zip(*by_level.values(), strict=True):
        assert one[:5] == other[:5]
        assert np.isclose(one[5]["learning_rate"], other[5]["learning_rate"])


Q = TINY["questions"][0]

MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a number that is closed": (
        {"questions": [{"factor": "dropout_rate", "levels": [0, 0.1]}]},
        ("questions[0].levels", "'dropout_rate' is not open", "dropout=dropout"),
    ),
    "a number that is closed on one background": (
        {"questions": [{"factor": "momentum", "levels": [0.5, 0.9]}]},
        ("questions[0].levels", "'momentum' is not open", "adamw"),
    ),
    "a number out of its limits": (
        {**STUDIES["a number"], "questions": [{"factor": "dropout_rate", "levels": [0, 0.7]}]},
        ("questions[0].levels", "0.7", "[0, 0.6]"),
    ),
    "levels and numbers in one question": (
        {"questions": [{"factor": "weight_decay", "levels": ["none", 0.1]}]},
        ("questions[0].levels", "not both"),
    ),
    "one value in two spellings": (
        {"questions": [{"factor": "batch_size", "levels": [8, 8]}]},
        ("'8' is listed twice",),
    ),
    "a setting out of its limits": (
        {"questions": [{"factor": "depth", "levels": [2, 0]}]},
        ("questions[0].levels", "depth = 0"),
    ),
    "more looks than steps": (
        {"questions": [{"factor": "steps", "levels": [1, 4]}]},
        ("questions[0].levels", "evaluations = 2", "steps = 1"),
    ),
    "a combination with a factor's name": (
        {"questions": [{"factor": "dropout", "levels": COMBINATIONS}]},
        ("questions[0].factor", "'dropout' cannot name combinations"),
    ),
    "a free name with plain levels": (
        {"questions": [{"factor": "cocktail", "levels": ["a", "b"]}]},
        ("questions[0].factor", "combinations take a mapping"),
    ),
    "two equal combinations": (
        {"questions": [{"factor": "cocktail", "levels": {"a": {}, "b": {}}}]},
        ("questions[0].levels.b", "the same as a"),
    ),
    "an unknown word in a combination": (
        {"questions": [{"factor": "cocktail", "levels": {"a": {}, "b": {"dorpout": "none"}}}]},
        ("questions[0].levels.b", "'dropout'?"),
    ),
    "one combination": (
        {"questions": [{"factor": "cocktail", "levels": {"a": {}}}]},
        ("questions[0].levels", "at least 2"),
    ),
    "a level that is no text": (
        {"questions": [{**Q, "levels": ["he_normal", 3]}]},
        ("questions[0].levels", "takes the name of a level"),
    ),
    "a setting among what is fixed": (
        {"fixed": {"depth": 3}},
        ("fixed.depth", "is a setting"),
    ),
    "a fixed number that nothing opens": (
        {"fixed": {"dropout_rate": 0.1}},
        ("fixed.dropout_rate", "dropout=dropout"),
    ),
    "a fixed number that is tuned": (
        {"fixed": {"learning_rate": 0.1}},
        ("nuisance.learning_rate", "fixed"),
    ),
    "a regime's number that nothing opens": (
        {"regimes": {"a": {"negative_slope": 0.2}, "b": {"activation": "leaky_relu"}}},
        ("regimes.a.negative_slope", "activation=leaky_relu"),
    ),
    "a regime that changes what is asked": (
        {"regimes": {"a": {"initializer": "zeros"}}},
        ("regimes.a.initializer", "the question on initializer"),
    ),
    "a regime that changes what is fixed": (
        {"regimes": {"a": {"schedule": "cosine"}}},
        ("regimes.a.schedule", "cannot be fixed"),
    ),
    "a regime that changes the background": (
        {"regimes": {"a": {"optimizer": "sgd"}}},
        ("regimes.a.optimizer", "background"),
    ),
    "a background of a regime that is none": (
        {"background_in": {"abysmal": {"optimizer": ["sgd"]}}},
        ("background_in.abysmal", "unknown regime"),
    ),
    "a regime's background of what has none": (
        {"background_in": {"deep": {"activation": ["relu"]}}},
        ("background_in.deep", "unknown background factor", "optimizer"),
    ),
    "a setting tuned and in a regime": (
        {"nuisance": {"depth": {"low": 1, "high": 4}}},
        ("regimes.shallow.depth", "nuisance"),
    ),
    "a setting tuned and asked": (
        {
            "questions": [{"factor": "width", "levels": [4, 8]}],
            "nuisance": {"width": {"low": 4, "high": 8}},
        },
        ("nuisance.width", "asks about"),
    ),
    "a setting tuned without limits": (
        {"nuisance": ["learning_rate", "batch_size"]},
        ("nuisance.batch_size", "{low: ..., high: ...}"),
    ),
    "half a setting": (
        {"nuisance": {"width": {"low": 4.5, "high": 8}}},
        ("nuisance.width", "whole numbers"),
    ),
    "a word tuned": ({"nuisance": {"precision": {"low": 1, "high": 2}}}, ("nuisance.precision", "searched")),
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


def test_what_means_little_is_told_and_not_refused() -> None:
    fixed: Protocol = planned(tiny(background={"optimizer": ["sgd"]}))
    (note,) = examine(fixed, BOOK)
    assert "schedule = one_cycle with optimizer = sgd" in note
    assert examine(planned(), BOOK) == ()


def test_what_cannot_mean_anything_is_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a planted rule: today's ranges keep the real ones from being broken in every study file."""
    from search_spaces import compatibility

    rule = compatibility.Rule(
        keys=("initializer", "depth"), meaning="planted", holds=lambda c: c.setting.depth == 3
    )
    monkeypatch.setattr(compatibility, "REFUSED", (rule,))
    with pytest.raises(SpecError, match=r"questions\[0\]: initializer = he_normal with depth = 3: planted"):
        examine(planned(), BOOK)


def test_to_ask_between_levels_that_come_to_the_same_is_refused() -> None:
    def asked(*levels: str) -> Protocol:
        question = {"factor": "optimizer", "levels": list(levels)}
        return planned(tiny(questions=[question], background={}, fixed={"weight_decay": "l2"}))

    with pytest.raises(
        SpecError, match=r"adam and adamw come to the same: optimizer = adamw with weight_decay"
    ):
        examine(asked("sgd", "adam", "adamw"), BOOK)
    (note,) = examine(asked("sgd", "adamw"), BOOK)
    assert "AdamW with an L2 penalty" in note


@pytest.mark.parametrize(
    ("factor", "levels"),
    [
        ("train_size", [1000, 2000]),
        ("batch_size", [1000, 2000]),
        ("recipe", {"usual": {}, "said": {"dropout": "none"}}),
    ],
)
def test_levels_that_come_to_the_same_training_are_refused(factor: str, levels: Any) -> None:
    fixed = planned(tiny(questions=[{"factor": factor, "levels": levels}]))
    with pytest.raises(
        SpecError, match=r"questions\[0\].levels: .* come to the same training .in shallow, task"
    ):
        examine(fixed, BOOK)


def test_a_network_that_needs_a_shape_is_refused_on_a_table() -> None:
    fixed = planned(tiny(regimes={"dense": {}, "image": {"network": "cnn"}}))
    with pytest.raises(SpecError, match=r"network = 'cnn'.*task 'stripes'.* in image, task stripes"):
        examine(fixed, BOOK)


def test_an_augmentation_that_a_task_does_not_declare_is_refused() -> None:
    fixed = planned(tiny(questions=[{"factor": "augmentation", "levels": ["none", "shift"]}]))
    with pytest.raises(SpecError, match=r"'stripes' does not declare .*augmentation=shift"):
        examine(fixed, BOOK)


def test_an_empty_change_is_a_level_too() -> None:
    assert of("combinations").asked[0].change("none") == Overrides()
