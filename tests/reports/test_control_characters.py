"""What acts on a reader is quoted or refused: formulas of spreadsheets, ends of lines, what nobody sees."""

from __future__ import annotations

import csv
import io
import re

import pytest

from reports.claims.cards import as_csv as cards_as_csv
from reports.io.control_characters import cell
from reports.io.dataclass_files import refuse_text
from reports.pages.figures import FigurePanel
from reports.pages.study_page import csv_text
from studies.operations.results import as_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
@pytest.mark.parametrize("before", ["", " ", "\u3000", "a;", "a; ", "a\t", "a|", "one;two;"])
def test_a_formula_is_quoted_wherever_a_spreadsheet_may_begin_a_cell(before: str, start: str) -> None:
    quoted = cell(f"{before}{start}HYPERLINK(1)")
    assert quoted == f"{before}'{start}HYPERLINK(1)"


@pytest.mark.parametrize("text", ["a-b", "he_normal", "1;2", "x = 3", "p<0.05; n=3", "a;b-c", ""])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cell(text) == text


def test_numbers_are_no_text() -> None:
    assert [cell(value) for value in (-1.5, -2, None, True)] == [-1.5, -2, None, True]


def test_every_csv_that_is_written_quotes_its_cells() -> None:
    evil = "x;\uff1dcmd()"
    picture = FigurePanel(
        name="p", title="t", description="d", svg="", columns=("level", evil), rows=((evil, -1.0),)
    )
    for text in (csv_text(picture), as_csv([{"level": evil, evil: -1.0}])):
        for line in list(csv.reader(io.StringIO(text))):
            assert all("x;'\uff1dcmd()" in each or "cmd" not in each for each in line)
        assert text.count("'\uff1d") == 2
    assert cards_as_csv(()).startswith("study,")


@pytest.mark.parametrize(
    ("char", "code"),
    [
        ("\n", "U+000A"),
        ("\t", "U+0009"),
        ("\x85", "U+0085"),
        ("\u2028", "U+2028"),
        ("\u2029", "U+2029"),
        ("\u200b", "U+200B"),
        ("\u202e", "U+202E"),
        ("\U000e0041", "U+E0041"),
    ],
)
def test_what_ends_a_line_or_is_not_seen_is_refused_in_a_defaults_file(char: str, code: str) -> None:
    rule = f"file.rows[0] must be text without control characters, not with {code}"
    with pytest.raises(ValueError, match=re.escape(rule)):
        refuse_text({"rows": [f"a{char}b"]}, "file", more="\t\n")


def test_letters_of_any_script_and_pictures_are_text() -> None:
    refuse_text("h\u00e9 \u0645\u06cc\u062e\u0648\u0627\u0647\u0645 \U0001f52c", "file", more="\t\n")
