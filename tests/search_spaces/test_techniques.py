"""The table of techniques names levels, numbers and settings that exist, for every family of the sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import search_spaces
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES
from search_spaces.vocabulary import NUMBERS, read

FILE = Path(search_spaces.__file__).parent / "TECHNIQUES.md"
LATER = {"transfer", "pretraining", "pruning", "quantization", "MC dropout"}
"""What no level realizes yet."""

FAMILIES = {
    *("Initializers", "Activations", "Normalization", "Clipping", "Optimizers", "Schedules", "Regularizers"),
    *("Dropout", "Transfer", "Efficiency", "Data", "Setting", "Diagnostics"),
}
ELSEWHERE = ("recorded: ", "read-out ", "the output of every classification task")
"""How a technique is told that is no choice."""


def rows() -> list[tuple[str, str, str]]:
    """(family, technique, realized by) of every row."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    cells = [
        tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines if line[:2] == "| "
    ]
    assert {len(row) for row in cells} == {3}
    return [(row[0], row[1], row[2]) for row in cells[1:]]


def exists(token: str) -> bool:
    """A level, the value of a setting, a number, a setting, or a file of this repository."""
    if token.endswith(".py"):
        return (FILE.parent.parent / token).is_file()
    name, _, value = token.partition("=")
    if not value:
        return name in NUMBERS or name in SETTING_NAMES
    if name in FACTORS:
        return value in FACTORS[name].names
    if name in SETTING_LIMITS or name not in SETTING_NAMES:
        return False
    read({name: {"true": True, "false": False}.get(value, value)})
    return True


@pytest.mark.parametrize(("family", "technique", "by"), rows(), ids=lambda text: text[:40])
def test_what_realizes_a_technique_exists(family: str, technique: str, by: str) -> None:
    assert family in FAMILIES
    tokens = re.findall(r"`([^`]+)`", by)
    assert [token for token in tokens if not exists(token)] == []
    if not tokens:
        assert by.startswith(ELSEWHERE) or by.removeprefix("later work: ") in LATER


def test_every_family_of_the_sources_has_rows_and_no_technique_stands_twice() -> None:
    assert {family for family, _, _ in rows()} == FAMILIES
    techniques = [technique for _, technique, _ in rows()]
    assert len(set(techniques)) == len(techniques)


def test_only_what_is_named_as_later_work_has_no_level() -> None:
    later = {by.removeprefix("later work: ") for _, _, by in rows() if by.startswith("later work")}
    assert later == LATER


def test_every_level_realizes_a_technique_or_says_that_no_document_has_it() -> None:
    named = {token for _, _, by in rows() for token in re.findall(r"`([^`]+)`", by)}
    for factor in FACTORS.values():
        for level in factor.levels:
            own = f"{factor.name}={level.name}" in named
            beyond = not re.search(r"\b00\d\b", level.source.document)
            assert own or beyond or level.name in ("none", factor.framework_default), level.name
