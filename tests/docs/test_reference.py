"""The generated reference holds what it is generated from, all of it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from pydantic import BaseModel

import groundrules as gr
from infra import docs_hooks, docs_reference
from studies.cli import COMMANDS
from studies.search.spec import SearchSpec
from studies.spec.sections import BudgetSpec, ClaimSpec, ControlsSpec, ExtendsSpec, RangeSpec
from studies.spec.study_spec import StudySpec

MODELS: tuple[type[BaseModel], ...] = (
    *(StudySpec, SearchSpec),
    *(BudgetSpec, ClaimSpec, ControlsSpec, ExtendsSpec, RangeSpec),
)


def test_every_command_and_option_is_there() -> None:
    text = docs_reference.commands()
    assert [name for name in COMMANDS if f"\n## {name}\n" not in text] == []
    for option in ("--tasks-from FILE.py", "--hours H", "--follow", "--previous FILE", "--gpu-fraction"):
        assert f"`{option}" in text
    assert "GROUNDRULES_WORKSPACE" in text


@pytest.mark.parametrize("model", MODELS)
def test_every_key_has_a_row_with_its_meaning(model: type[BaseModel]) -> None:
    rows = [line.split(" | ") for line in docs_reference.keys(model).splitlines()[2:]]
    assert [row[0].strip("| `") for row in rows] == list(model.model_fields)
    assert all(len(row[-1]) > 15 for row in rows), "a sentence"
    for row, field in zip(rows, model.model_fields.values(), strict=True):
        assert (row[2] == "required") == field.is_required()


def test_limits_and_choices_are_those_of_the_model() -> None:
    text = docs_reference.keys(StudySpec)
    assert "| `alpha` | number, above 0 and below 0.5 | `0.05` |" in text
    assert "| `sampler` | `sobol`, `random`, `tpe`, `gp` | `sobol` |" in text
    assert "| `families` | whole number, 1 to 1000 |" in docs_reference.keys(BudgetSpec)


class Undescribed(BaseModel):
    """A model whose second key nobody has described."""

    one: int = 1
    """A number."""
    two: int = 2


def test_a_key_that_nobody_described_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"Undescribed: no docstring under two"):
        docs_reference.keys(Undescribed)


@pytest.mark.parametrize("name", [name for names in docs_reference.MODULES.values() for name in names])
def test_the_modules_of_the_reference_are_there_and_described(name: str) -> None:
    module: Any = importlib.import_module(name)
    assert module.__doc__


@pytest.mark.parametrize("name", docs_hooks.TABLES)
def test_a_table_is_one_that_a_page_shows(name: str) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (docs_reference.ROOT / "infra/docs").rglob("*.md")]
    assert sum(f"<!-- generated: {name} -->" in page for page in pages) == 1


def test_a_mark_that_names_no_table_is_an_error() -> None:
    with pytest.raises(KeyError, match="no such table"):
        docs_hooks.on_page_markdown("<!-- generated: no such table -->", page=None, config=None, files=None)


def test_the_page_of_the_python_interface_has_every_public_name() -> None:
    page = docs_reference.public_interface()
    assert [name for name in gr.__all__ if f" groundrules.{name}\n" not in page] == []
