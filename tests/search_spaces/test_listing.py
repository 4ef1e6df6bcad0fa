"""The catalogue as text is generated from the rows, and the copy in the repository is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_NAMES
from search_spaces.listing import catalogue, markdown, meaning, settings

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


def test_functions_of_torch_are_named_in_full() -> None:
    said = {level.name: meaning(level) for level in FACTORS["activation"].levels}
    assert said["relu"] == "torch.nn.functional.relu"
    assert said["logistic"] == "torch.sigmoid"
    assert said["gelu_tanh"] == "torch.nn.functional.gelu(approximate='tanh')"


def test_a_formula_comes_from_the_docstring_of_the_function() -> None:
    assert "velocity = momentum * velocity + grads" in meaning(FACTORS["optimizer"].level("momentum"))
    assert "2 / fan_in" in meaning(FACTORS["initializer"].level("he_normal"))


def test_every_setting_is_listed() -> None:
    assert [line.split(" | ")[0].strip("| ") for line in settings().splitlines()[4:]] == list(SETTING_NAMES)
