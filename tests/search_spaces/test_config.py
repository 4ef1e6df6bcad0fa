"""A point of the search space is plain data with an id that never changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from search_spaces.config import SETTING_LIMITS, Config, Setting
from search_spaces.space import complete

PRINT_ID = "from search_spaces.config import Config; print(Config(levels={levels}, numbers={numbers}).id)"


def test_a_config_survives_a_round_trip_through_json() -> None:
    config = complete({"optimizer": "adamw", "dropout": "dropout"}, {"dropout_rate": 0.25}, Setting(depth=16))
    again = Config.from_plain(json.loads(json.dumps(config.plain())))
    assert again == config
    assert again.id == config.id


def test_the_id_does_not_depend_on_order_or_on_the_processs_hash_seed() -> None:
    config = complete({"optimizer": "adamw"})
    shuffled = Config(
        levels=dict(reversed([*config.levels.items()])), numbers=dict(reversed([*config.numbers.items()]))
    )
    assert shuffled.id == config.id
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", PRINT_ID.format(levels=config.levels, numbers=config.numbers)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == config.id


@pytest.mark.parametrize(
    "other",
    [
        complete({"optimizer": "adam"}),
        complete({"optimizer": "adamw"}, {"weight_decay": 0.02}),
        complete({"optimizer": "adamw"}, setting=Setting(width=65)),
    ],
    ids=["level", "number", "setting"],
)
def test_every_part_of_a_point_enters_its_id(other: Config) -> None:
    assert other.id != complete({"optimizer": "adamw"}).id


WRONG: list[dict[str, Any]] = [
    *({name: low - 1} for name, (low, _) in SETTING_LIMITS.items()),
    *({name: high + 1} for name, (_, high) in SETTING_LIMITS.items()),
    {"depth": 2.0},
    {"depth": True},
    {"residual": 1},
    {"precision": "float8"},
    {"steps": 10, "evaluations": 11},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_a_setting_that_cannot_be_trained_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"setting {list(changes)[-1]}"):
        Setting(**changes)
