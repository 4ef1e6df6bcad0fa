"""Levels of which the same is trained are refused by `plan`, whatever they are called; others are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from studies.comparison.meaningless_levels import examine
from studies.comparison.protocol import ComparisonProtocol
from studies.spec.errors import SpecError
from tests.studies.planted import BOOK, planned, tiny

ONE = {"regimes": {"shallow": {"depth": 1}}, "background": {}, "fixed": {}}
"""One hidden layer of 4 units, 4 steps with 2 looks, 32 items in batches of 8."""


def asked(factor: str, levels: Any, **changes: Any) -> ComparisonProtocol:
    return planned(tiny(**{**ONE, "questions": [{"factor": factor, "levels": levels}], **changes}))


ONE_STEP = {"width": 4, "steps": 1, "evaluations": 1, "train_size": 32, "batch_size": 8}
LOOKED_AT = {**ONE_STEP, "steps": 20, "evaluations": 20}
BROUGHT = {"a": {"optimizer": "adamw"}, "b": {"optimizer": "adam", "weight_decay": ["decoupled", 0.01]}}

ALIKE: dict[str, tuple[Callable[[], ComparisonProtocol], str]] = {
    "warm-ups that round to nothing": (
        partial(asked, "warmup_fraction", [0, 0.01, 0.1], fixed={"warmup": "linear"}),
        "0, 0.01 and 0.1 come to the same training (in shallow, task stripes): warmup_fraction = 0.01 is 0 "
        "of 4 steps; warmup_fraction = 0.1 is 0 of 4 steps",
    ),
    "a warm-up of nothing": (
        partial(asked, "warmup", ["none", "linear"]),
        "none and linear come to the same training (in shallow, task stripes): warmup_fraction = 0.1 is 0",
    ),
    "a plateau that is never seen": (
        partial(asked, "schedule", ["constant", "performance"]),
        "plateau_patience = 10 outlasts 2 looks at validation: the rate is never cut",
    ),
    "patience beyond all looks": (
        partial(asked, "early_stopping", ["read_out_only", "patience"]),
        "stop_patience = 5 outlasts 2 looks at validation: nothing stops early",
    ),
    "patience that ends with the training": (
        partial(asked, "stop_patience", [8, 10], fixed={"early_stopping": "patience"}),
        "8 and 10 come to the same",
    ),
    "schedules of one step": (
        partial(asked, "schedule", ["constant", "linear", "cosine"], setting=ONE_STEP),
        "come to",
    ),
    "an end as high as the start": (
        partial(asked, "schedule", ["constant", "exponential"], fixed={"final_lr_fraction": 1.0}),
        "constant and exponential come to the same",
    ),
    "a rate at which nothing is dropped": (
        partial(asked, "dropout_rate", [0, 1e-6, 0.5], fixed={"dropout": "dropout"}),
        "0 and 1e-06 come to the same training (in shallow, task stripes): dropout_rate = 1e-06 drops ",
    ),
    "dropout of nothing": (
        partial(asked, "dropout", ["none", "dropout"], fixed={"dropout_rate": 0}),
        "none and dropout",
    ),
    "no smoothing": (
        partial(asked, "label_smoothing", ["none", "label_smoothing"], fixed={"smoothing": 0}),
        "come to",
    ),
    "no momentum": (
        partial(
            asked,
            "optimizer",
            ["sgd", "momentum", "nesterov"],
            fixed={"momentum": 0, "learning_rate": 0.1},
            nuisance=[],
        ),
        "sgd, momentum and nesterov come to the same",
    ),
    "the decay that the optimizer brings": (partial(asked, "recipe", BROUGHT), "a and b come to the same"),
    "a sum with the input that no layer has": (partial(asked, "residual", [True, False]), "come to the same"),
    "a funnel of one layer": (
        partial(asked, "recipe", {"plain": {}, "narrowing": {"funnel": True}}),
        "plain and narrowing come to the same",
    ),
    "first biases that agree": (
        partial(asked, "bias", ["as_initializer", "zeros"], fixed={"initializer": "he_normal"}),
        "",
    ),
    "batches of all items": (
        partial(asked, "batch_size", [100, 200], setting={**ONE_STEP, "train_size": 16}),
        "100 and 200 come to the same training (in shallow, task stripes): batch_size = 100 means all "
        "training items at once: 16 on stripes; batch_size = 200 means",
    ),
    "the same where both are tuned": (
        partial(
            asked,
            "warmup_fraction",
            [0, 0.01],
            fixed={"warmup": "linear", "optimizer": "momentum"},
            nuisance=["learning_rate", "momentum"],
        ),
        "come to the same",
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_levels_of_which_the_same_is_trained_are_refused(name: str) -> None:
    fixed, said = ALIKE[name]
    with pytest.raises(SpecError, match=r"tiny.yaml: questions\[0\].levels: .* come to the same") as refused:
        examine(fixed(), BOOK)
    assert said in str(refused.value)


APART: dict[str, Callable[[], ComparisonProtocol]] = {
    "warm-ups of some steps": partial(
        asked, "warmup_fraction", [0, 0.05, 0.2], fixed={"warmup": "linear"}, setting=LOOKED_AT
    ),
    "a plateau that may be seen": partial(asked, "schedule", ["constant", "performance"], setting=LOOKED_AT),
    "a plateau whose patience is searched": partial(
        asked,
        "schedule",
        ["constant", "performance"],
        setting={**LOOKED_AT, "evaluations": 5},
        nuisance=["learning_rate", "plateau_patience"],
    ),
    "patience that may end": partial(
        asked, "early_stopping", ["read_out_only", "patience"], setting=LOOKED_AT
    ),
    "dropout whose rate is searched": partial(
        asked, "dropout", ["none", "dropout"], nuisance=["learning_rate", "dropout_rate"]
    ),
    "a rate that differs where it is searched": partial(
        asked, "dropout", ["dropout", "dropout_inputs"], nuisance={"dropout_rate": {"low": 0, "high": 0.5}}
    ),
    "momentum that is searched": partial(
        asked, "optimizer", ["sgd", "momentum"], nuisance=["learning_rate", "momentum"]
    ),
    "clipping, which may never bite": partial(asked, "clipping", ["none", "norm"], fixed={"clip_norm": 10}),
    "a sum with the input": partial(asked, "residual", [True, False], regimes={"deep": {"depth": 3}}),
    "initializers": partial(
        asked, "initializer", ["he_normal", "he_uniform", "glorot_normal", "torch_default"]
    ),
    "rates of schedules": partial(
        asked, "schedule", ["constant", "linear", "cosine", "one_cycle"], setting=LOOKED_AT
    ),
    "looks": partial(asked, "evaluations", [1, 2]),
}


@pytest.mark.parametrize("name", APART)
def test_levels_of_which_something_else_is_trained_are_asked(name: str) -> None:
    examine(APART[name](), BOOK)


def test_a_number_that_all_levels_search_is_compared_at_its_ends_too() -> None:
    """At the default of 0 nothing is dropped anywhere; where the search goes, it is."""
    levels = {"units": {"dropout": "dropout"}, "inputs": {"dropout": "dropout_inputs"}}
    spans = {"learning_rate": None, "dropout_rate": {"low": 0, "high": 0.6}}
    examine(asked("where", levels, nuisance=spans), BOOK)
    with pytest.raises(SpecError, match="units and inputs come to the same"):
        examine(asked("where", levels, fixed={"dropout_rate": 0}), BOOK)


def test_a_plan_notes_what_the_data_cut_once_for_all_tasks() -> None:
    fixed = asked("batch_size", [8, 256], setting={**ONE_STEP, "train_size": 5000})
    train, batch = examine(fixed, BOOK)
    parts = "112 on stripes, 112 on rings, 112 on stairs"
    assert train == f"train_size = 5000 means all training items: {parts}"
    assert batch == f"batch_size = 256 means all training items at once: {parts}"
    searched = {"learning_rate": None, "batch_size": {"low": 8, "high": 512}}
    (note,) = examine(asked("activation", ["relu", "tanh"], nuisance=searched), BOOK)
    assert note.startswith("batch_size = 512 means all training items at once: 32 on stripes")


def test_a_design_with_nothing_to_tune_is_told_what_its_repeats_train() -> None:
    budget = {"families": 2, "blocks": 2, "trials": 8, "promoted": 2, "promote_seeds": 1}
    held = asked("activation", ["relu", "tanh"], fixed={"learning_rate": 0.01}, nuisance=[], budget=budget)
    (note,) = examine(held, BOOK)
    assert note.startswith(
        "activation in shallow: no number is open at any level, so the 9 retune and 2 promote"
    )
    assert "budget: {trials: 1, promoted: 1, promote_seeds: 1}" in note
    assert examine(asked("activation", ["relu", "tanh"], budget=budget), BOOK) == ()
    least = {**budget, "trials": 1, "promoted": 1}
    held = asked("activation", ["relu", "tanh"], fixed={"learning_rate": 0.01}, nuisance=[], budget=least)
    (note,) = examine(held, BOOK)
    assert "so the 2 retune and 1 promote member of a cell" in note
    assert "budget" not in note, "it is the least already"


def test_levels_with_nothing_to_tune_beside_levels_that_are_tuned_are_named() -> None:
    """Once each way round: what one level opens is searched, the others have nothing open."""
    levels = ["relu", "leaky_relu", "tanh"]
    (note,) = examine(asked("activation", levels, nuisance=["negative_slope"]), BOOK)
    assert note.startswith("activation in shallow: no number is open at relu and tanh, so the ")
    assert note.endswith("choose nothing, while the other levels are tuned")
    (note,) = examine(asked("activation", ["leaky_relu", "relu"], nuisance=["negative_slope"]), BOOK)
    assert "no number is open at relu, so" in note


def test_a_number_whose_whole_range_comes_to_nothing_is_noted() -> None:
    """Of 4 steps a warm-up of up to a tenth is none."""
    short = {"learning_rate": None, "warmup_fraction": {"low": 0, "high": 0.1}}
    levels = {"relu": {"activation": "relu"}, "tanh": {"activation": "tanh"}}
    linear = {"warmup": "linear"}
    (note,) = (
        note
        for note in examine(asked("squash", levels, nuisance=short, fixed=linear), BOOK)
        if "vain" in note
    )
    assert note == (
        "squash in shallow: warmup_fraction is tuned in vain at relu and tanh: the same is trained wherever "
        "it is in its range"
    )
    long = {**short, "warmup_fraction": {"low": 0, "high": 0.2}}
    notes = examine(asked("squash", levels, nuisance=long, fixed=linear), BOOK)
    assert not any("vain" in note for note in notes)


def test_a_setting_is_noted_on_the_tasks_that_have_fewer_items_than_its_range() -> None:
    """Of the 112 and fewer training items of every task here a batch of 256 to 512 holds all."""
    large = {"learning_rate": None, "batch_size": {"low": 256, "high": 512}}
    notes = examine(asked("activation", ["relu", "tanh"], nuisance=large), BOOK)
    assert any("batch_size is tuned in vain at relu and tanh: the same" in note for note in notes)


def test_levels_that_agree_at_their_defaults_alone_are_asked() -> None:
    """Without momentum one is the other at one learning rate; they are searched in different ranges."""
    momentum = {"momentum": 0}
    searched = asked("optimizer", ["sgd", "momentum"], fixed=momentum, nuisance=["learning_rate"])
    examine(searched, BOOK)
    with pytest.raises(SpecError, match="sgd and momentum come to the same"):
        examine(
            asked("optimizer", ["sgd", "momentum"], fixed={**momentum, "learning_rate": 0.1}, nuisance=[]),
            BOOK,
        )
