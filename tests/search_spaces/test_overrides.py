"""A change states levels, numbers and settings together, and reads as a study file says it."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_NAMES
from search_spaces.overrides import Overrides, spelled
from search_spaces.vocabulary import NUMBERS, read


def test_a_name_is_told_as_a_factor_a_number_or_a_setting() -> None:
    change = read({"activation": "leaky_relu", "negative_slope": 0.2, "depth": 12})
    assert change == Overrides(
        levels={"activation": "leaky_relu"}, numbers={"negative_slope": 0.2}, setting={"depth": 12}
    )
    assert change.parts == {("factor", "activation"), ("number", "negative_slope"), ("setting", "depth")}


def test_a_name_that_is_a_factor_and_a_number_is_told_by_its_value() -> None:
    assert read({"weight_decay": "l2"}) == Overrides(levels={"weight_decay": "l2"})
    assert read({"weight_decay": 1}) == Overrides(numbers={"weight_decay": 1.0})
    both = Overrides(levels={"weight_decay": "decoupled"}, numbers={"weight_decay": 0.1})
    assert read({"weight_decay": ["decoupled", 0.1]}) == both


def test_settings_share_no_name_with_factors_or_numbers() -> None:
    assert not set(SETTING_NAMES) & {*FACTORS, *NUMBERS}


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"weight_decay": ["decoupled", 0.1], "width": 8},
        {"weight_decay": 0.1},
        {"residual": True, "optimizer": "sgd", "learning_rate": 0.5},
    ],
)
def test_words_and_changes_are_one_to_one(words: dict[str, Any]) -> None:
    assert read(words).words() == words


def test_the_change_on_top_holds_and_the_rest_shows_through() -> None:
    below = read({"activation": "relu", "depth": 2, "learning_rate": 0.1})
    above = read({"activation": "tanh", "width": 8})
    assert above.over(below) == read({"activation": "tanh", "depth": 2, "width": 8, "learning_rate": 0.1})


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown name": ({"detph": 3}, "did you mean 'depth'?"),
    "an unknown level": ({"activation": "rleu"}, "did you mean 'relu'?"),
    "a number for a factor": ({"activation": 3}, "activation takes the name of a level, not 3"),
    "a level for a number": ({"dropout_rate": "much"}, "dropout_rate takes a number, not 'much'"),
    "a truth value for a number": ({"dropout_rate": True}, "a number, not True"),
    "a list for a factor": ({"weight_decay": ["l2", "l2"]}, "or [level, number]"),
    "a setting out of its limits": ({"depth": 0}, "depth = 0 must be a whole number in [1, 100]"),
    "half a unit": ({"width": 1.5}, "width = 1.5"),
    "an unknown word": ({"precision": "float8"}, "must be one of float32"),
    "text for a switch": ({"residual": "yes"}, "true or false"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_the_rule(name: str) -> None:
    words, rule = MISTAKES[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at
        read(words)
    assert rule in str(caught.value)


def test_a_value_has_one_spelling() -> None:
    assert [spelled(v) for v in (0.0, 0.1, 1e-5, 32, True, "relu")] == [
        "0",
        "0.1",
        "1e-05",
        "32",
        "true",
        "relu",
    ]
