"""What is said to train alike does, to the bit; and the names of what differs are not enough to say so."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from search_spaces.catalog import FACTORS
from search_spaces.config import Config, Setting
from tests.trainers.packs import TINY, member, numbers_of, pictures, suited
from trainers.config_audit.equivalence import trained
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.tasks.task import Task

Choice = Mapping[str, Any]


def one(choice: Choice) -> Member:
    setting = dataclasses.replace(TINY, **choice.get("setting", {}))
    return member(
        levels=choice.get("levels"), numbers=choice.get("numbers"), setting=setting, phase="confirm"
    )


def key(config: Config, task: Task) -> str:
    return trained(config, task, items=len(task.split("test", 0).train))


def measured(choice: Choice, task: Task) -> dict[str, Any]:
    (row,) = train_pack([one(choice)], task)
    return {name: value for name, value in numbers_of(row).items() if name != "config"}


PAIRS: dict[str, tuple[Choice, Choice]] = {
    "a warm-up of no step": (
        {},
        {"levels": {"warmup": "linear"}, "numbers": {"warmup_fraction": 0.02}},
    ),
    "a plateau after the last look": (
        {"setting": {"evaluations": 2}},
        {
            "levels": {"schedule": "performance"},
            "numbers": {"plateau_patience": 0.9},
            "setting": {"evaluations": 2},
        },
    ),
    "patience that is over with the training": (
        {},
        {"levels": {"early_stopping": "patience"}, "numbers": {"stop_patience": 2.0}},
    ),
    "no momentum": ({}, {"levels": {"optimizer": "momentum"}, "numbers": {"momentum": 0.0}}),
    "no momentum to look ahead": ({}, {"levels": {"optimizer": "nesterov"}, "numbers": {"momentum": 0.0}}),
    "the optimizer's own decay": (
        {"levels": {"optimizer": "adamw"}},
        {"levels": {"optimizer": "adam", "weight_decay": "decoupled"}},
    ),
    "nothing dropped": ({}, {"levels": {"dropout": "dropout"}, "numbers": {"dropout_rate": 0.0}}),
    "nothing smoothed": (
        {},
        {"levels": {"label_smoothing": "label_smoothing"}, "numbers": {"smoothing": 0.0}},
    ),
    "a batch of all items": ({"setting": {"batch_size": 64}}, {"setting": {"batch_size": 500}}),
    "all items": ({"setting": {"train_size": 400}}, {"setting": {"train_size": 900}}),
    "a sum that no layer has": (
        {"setting": {"depth": 1}},
        {"setting": {"depth": 1, "residual": True}},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_has_one_key_trains_alike_to_the_bit(name: str) -> None:
    a, b = PAIRS[name]
    task = suited("")
    assert key(one(a).config, task) == key(one(b).config, task)
    assert one(a).config.id != one(b).config.id
    assert measured(a, task) == measured(b, task)


NEAR_MISSES: dict[str, tuple[Choice, Choice]] = {
    "a warm-up of one step": ({}, {"levels": {"warmup": "linear"}, "numbers": {"warmup_fraction": 0.05}}),
    "patience that ends before the last look": (
        {},
        {"levels": {"early_stopping": "patience"}, "numbers": {"stop_patience": 1.0}},
    ),
    "a little momentum": ({}, {"levels": {"optimizer": "momentum"}, "numbers": {"momentum": 0.01}}),
    "a batch of one item less": ({"setting": {"batch_size": 64}}, {"setting": {"batch_size": 63}}),
    "a sum with the input": ({}, {"setting": {"residual": True}}),
    "other looks": ({}, {"setting": {"evaluations": 5}}),
    "precision": ({}, {"setting": {"precision": "float32"}}),
    "one of 65536": ({}, {"levels": {"dropout": "dropout"}, "numbers": {"dropout_rate": 1 / 65536}}),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_differs_a_little_has_another_key(name: str) -> None:
    a, b = NEAR_MISSES[name]
    assert key(one(a).config, suited("")) != key(one(b).config, suited(""))


@pytest.mark.parametrize("factor", FACTORS)
def test_at_their_defaults_levels_of_a_factor_with_one_key_train_alike(factor: str) -> None:
    """Whatever the catalogue holds: a key that two levels share is a promise."""
    task = suited(factor)
    setting = Setting(**{**dataclasses.asdict(TINY), "evaluations": 20})
    configs: dict[str, list[str]] = {}
    for level in FACTORS[factor].levels:
        choice = {"levels": {factor: level.name}, "setting": dataclasses.asdict(setting)}
        configs.setdefault(key(one(choice).config, task), []).append(level.name)
    for levels in configs.values():
        found = [
            measured({"levels": {factor: level}, "setting": dataclasses.asdict(setting)}, task)
            for level in (levels if len(levels) > 1 else ())
        ]
        assert all(row == found[0] for row in found), levels


def test_augmentation_that_cannot_change_an_item_is_none() -> None:
    narrow = Task.from_arrays(
        pictures().x[:, :6].reshape(-1, 6, 1, 1),
        pictures().y,
        kind="classification",
        name="blobs",
        augmentations={"flip", "shift"},
    )
    plain, flipped, shifted = (
        key(one({"levels": {"augmentation": name}}).config, narrow) for name in ("none", "flip", "shift")
    )
    assert plain == flipped != shifted
