"""The catalogue as text is generated from the rows, and the copy in the repository is up to date."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import search_spaces
from search_spaces.activations import Activation
from search_spaces.catalog import FACTORS
from search_spaces.catalogue_text import catalogue, markdown, meaning, settings
from search_spaces.config import SETTING_NAMES
from search_spaces.factor import Level
from search_spaces.initializers import Initializer

FILE = Path(search_spaces.__file__).parent / "CATALOGUE.md"
COMMAND = "groundrules catalog --format markdown > search_spaces/CATALOGUE.md"


def test_the_file_in_the_repository_is_what_the_rows_say() -> None:
    assert FILE.read_text(encoding="utf-8") == catalogue(FACTORS.values()), f"write it again: {COMMAND}"


@pytest.mark.parametrize("name", FACTORS)
def test_a_factors_table_has_a_row_for_every_level(name: str) -> None:
    factor = FACTORS[name]
    rows = [line for line in markdown([factor]).splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].strip("|* ") for row in rows] == list(factor.names)
    assert [row.count(" | ") for row in rows] == [4] * len(rows)
    for level, row in zip(factor.levels, rows, strict=True):
        assert ("**" in row.split(" | ")[0]) == (level.name == factor.framework_default)
        assert all(f"{span.name} in [" in row for span in level.ranges)
        assert level.source.document in row


@pytest.mark.parametrize("name", FACTORS)
def test_every_level_says_what_it_does_without_addresses_in_memory(name: str) -> None:
    for level in FACTORS[name].levels:
        said = meaning(level)
        assert said
        assert " at 0x" not in said


def test_functions_of_torch_are_named_in_full_beside_their_formula() -> None:
    said = {level.name: meaning(level) for level in FACTORS["activation"].levels}
    assert said["relu"] == "max(x, 0): torch.nn.functional.relu"
    assert said["logistic"].endswith(": torch.sigmoid")
    assert said["gelu_tanh"].endswith(": torch.nn.functional.gelu(approximate='tanh')")


NAMES: dict[str, Any] = {
    "max": max,
    "min": min,
    "Phi": lambda x: math.erfc(-x / math.sqrt(2)) / 2,
    **vars(math),
}
"""What the formulas of activations are written with."""


OF_X_ALONE = [
    level
    for level in FACTORS["activation"].levels
    if level.formula and not level.build.noisy and not level.build.gated
]


@pytest.mark.parametrize("level", OF_X_ALONE, ids=lambda level: level.name)
def test_an_activation_is_what_its_formula_says(level: Level[Activation]) -> None:
    formula = level.formula.split(", Phi being")[0].replace("^", "**")
    for x in (-4.0, -1.5, -0.3, 0.2, 1.0, 3.5):
        got = level.build.apply(torch.tensor([[x]], dtype=torch.float64)).item()
        assert got == pytest.approx(eval(formula, {**NAMES, "x": x}), abs=1e-4), x


FANS: dict[str, Any] = {"fan_in": 300, "fan_out": 200, "fan_avg": 250, "sqrt": math.sqrt}


OF_BOTH_FANS = re.compile(r"N\(0, ([^ms]*)\);|variance (.*);|r = (sqrt\([^m]*?\))(?:;|$)")
"""The variance of a normal, of a truncated normal, or the radius of a uniform distribution."""
DRAWN = [
    level
    for level in FACTORS["initializer"].levels
    if OF_BOTH_FANS.search(level.formula) and not level.build.batch_power
]


@pytest.mark.parametrize("level", DRAWN, ids=lambda level: level.name)
def test_initial_weights_are_what_their_formula_says(level: Level[Initializer]) -> None:
    weights = level.build.weight(300, 200, np.random.default_rng(0))
    found = OF_BOTH_FANS.search(level.formula)
    assert found is not None
    variance, after_the_cut, radius = found.groups()
    if radius:
        r = eval(radius, FANS)
        assert 0.999 * r < np.abs(weights).max() <= r * (1 + 1e-6)
    else:
        assert weights.var() == pytest.approx(
            eval((variance or after_the_cut).replace("^", "**"), FANS), rel=0.03
        )


def test_a_formula_comes_from_the_docstring_of_the_function() -> None:
    assert "velocity = momentum * velocity + grads" in meaning(FACTORS["optimizer"].level("momentum"))
    assert "2 / fan_in" in meaning(FACTORS["initializer"].level("he_normal"))


def test_every_setting_is_listed() -> None:
    assert [line.split(" | ")[0].strip("| ") for line in settings().splitlines()[4:]] == list(SETTING_NAMES)
