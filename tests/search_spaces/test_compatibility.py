"""Rules over whole configs: every one fires somewhere, names both keys, and leaves the defaults alone."""

from __future__ import annotations

import dataclasses

import pytest

from search_spaces.activation_gains import activation_gain
from search_spaces.catalog import FACTORS
from search_spaces.compatibility import EQUAL, NOTED, REFUSED, Rule, indistinct, notes, refusal
from search_spaces.config import Config, Setting
from search_spaces.overrides import Overrides
from search_spaces.space import complete
from search_spaces.vocabulary import read

CASES: dict[tuple[str, str], Overrides] = {
    ("schedule", "optimizer"): read({"schedule": "one_cycle", "optimizer": "sgd"}),
    ("optimizer", "weight_decay"): read({"optimizer": "adamw", "weight_decay": "l2"}),
    ("plateau_patience", "evaluations"): read({"schedule": "performance", "evaluations": 5}),
    ("weight_constraint", "depth"): read({"weight_constraint": "symmetric", "depth": 1}),
    ("weight_constraint", "funnel"): read({"weight_constraint": "symmetric", "funnel": True}),
    ("weight_constraint", "network"): read({"weight_constraint": "symmetric", "network": "cnn"}),
    ("weight_constraint", "activation"): read({"weight_constraint": "symmetric", "activation": "swiglu"}),
    ("normalization", "network"): read({"normalization": "layer_norm_all", "network": "rnn"}),
    ("dropout", "depth"): read({"dropout": "dropout_last3", "depth": 3}),
    ("dropout", "activation"): read({"dropout": "alpha_dropout", "activation": "relu"}),
    ("dropout", "normalization"): read({"dropout": "alpha_dropout", "normalization": "batch_norm"}),
    ("bias", "initializer"): read({"bias": "uniform", "initializer": "torch_default"}),
    ("funnel", "network"): read({"funnel": True, "network": "cnn"}),
    ("warmup", "schedule"): read({"warmup": "linear", "schedule": "warmup_cosine"}),
    ("stop_patience", "evaluations"): read({"early_stopping": "patience", "evaluations": 5}),
    ("decay_scope", "weight_decay"): read({"decay_scope": "weights", "weight_decay": "none"}),
    ("bias", "normalization"): read({"bias": "uniform", "normalization": "batch_norm"}),
    ("residual", "depth"): read({"residual": True, "depth": 1}),
}
"""Keys of a rule -> a config that it is about."""

BEYOND: dict[tuple[str, str], dict[str, float]] = {
    ("warmup_share", "steps"): {"warmup_share": 1.5},
    ("warmup_fraction", "steps"): {"warmup_fraction": 1.5},
    ("warmup_share", "cooldown_share"): {"warmup_share": 0.6, "cooldown_share": 0.5},
}
"""Keys of a rule -> numbers that today's ranges keep out; another range must not let them in."""


def case(rule: Rule) -> Config:
    """A config that the rule is about."""
    if rule.keys in BEYOND:
        before = (
            {"warmup": "linear"} if "warmup_fraction" in rule.keys else {"schedule": "warmup_stable_decay"}
        )
        lawful = complete(before)
        return dataclasses.replace(lawful, numbers={**lawful.numbers, **BEYOND[rule.keys]})
    change = CASES[rule.keys]
    return complete(change.levels, change.numbers, setting=Setting(**change.setting))


@pytest.mark.parametrize("rule", [*REFUSED, *NOTED], ids=lambda rule: "+".join(rule.keys))
def test_every_rule_fires_on_its_case_and_names_both_keys(rule: Rule) -> None:
    config = case(rule)
    said = (refusal(config),) if rule in REFUSED else notes(config)
    (about,) = (text for text in said if text and rule.meaning in text)
    assert all(f"{key} = " in about for key in rule.keys)


@pytest.mark.parametrize("factor", FACTORS)
def test_no_level_is_refused_on_top_of_the_frameworks_defaults_without_a_rule_on_it(factor: str) -> None:
    about = {key for rule in REFUSED for key in rule.keys}
    for level in FACTORS[factor].names:
        said = refusal(complete({factor: level}))
        assert said is None or factor in about


def test_the_frameworks_defaults_are_neither_refused_nor_noted() -> None:
    assert refusal(complete({})) is None
    assert notes(complete({})) == ()


def told(asked: str, *levels: str, **background: object) -> str | None:
    """Why those levels come to the same on that background."""
    stated = [read({asked: level, **background}) for level in levels]
    return indistinct(
        asked,
        {
            level: complete(change.levels, change.numbers, setting=Setting(**change.setting))
            for level, change in zip(levels, stated, strict=True)
        },
    )


def test_zero_biases_are_those_of_an_initializer_that_starts_them_at_zero() -> None:
    said = told("bias", "as_initializer", "zeros", initializer="he_normal")
    assert said is not None
    assert said.startswith(
        "as_initializer and zeros come to the same: bias = zeros with initializer = he_normal"
    )
    assert told("bias", "as_initializer", "zeros", initializer="torch_default") is None
    assert told("bias", "zeros", "uniform", initializer="he_normal") is None


@pytest.mark.parametrize("other", ["dropout", "dropout_last3"])
def test_dropout_in_the_last_layer_is_dropout_where_there_is_one(other: str) -> None:
    said = told("dropout", other, "dropout_last1", depth=1)
    assert said is not None
    assert "dropout = dropout_last1 with depth = 1" in said
    assert told("dropout", other, "dropout_last1", depth=2) is None
    assert told("dropout", "none", "dropout_last1", depth=1) is None


@pytest.mark.parametrize("decay", ["none", "decoupled", "l2", "l1"])
def test_adamw_is_adam_once_both_decay_alike(decay: str) -> None:
    assert told("optimizer", "adam", "adamw", weight_decay=decay) is not None
    assert told("optimizer", "adam", "adamw") is None
    assert told("optimizer", "adam", "nadam", weight_decay=decay) is None


def test_the_optimizers_own_decay_is_one_of_the_named_ones() -> None:
    assert told("weight_decay", "none", "optimizer_default", optimizer="nesterov") is not None
    assert told("weight_decay", "none", "optimizer_default", optimizer="adamw") is None
    assert told("weight_decay", "decoupled", "optimizer_default", optimizer="adamw") is not None
    assert told("weight_decay", "decoupled", "optimizer_default", optimizer="muon") is None


@pytest.mark.parametrize("form", ["normal", "uniform"])
@pytest.mark.parametrize("activation", FACTORS["activation"].names)
def test_an_activation_that_asks_for_a_gain_of_1_starts_as_lecun(activation: str, form: str) -> None:
    numbers = complete({"activation": activation}).numbers
    same = told("initializer", f"activation_gain_{form}", f"lecun_{form}", activation=activation) is not None
    assert same == (activation_gain(activation, numbers) == pytest.approx(1, abs=1e-6))
    assert told("initializer", "activation_gain_normal", "lecun_uniform", activation=activation) is None


@pytest.mark.parametrize("rule", [rule for rule in (*NOTED, *EQUAL) if rule.same], ids=lambda r: r.meaning)
def test_levels_that_come_to_the_same_are_levels(rule: Rule) -> None:
    assert rule.same <= set(FACTORS[rule.keys[0]].names)
