"""The index of a workspace: every report listed, hostile names harmless, unreadable summaries survived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reports.evidence.study_record import StudyRecord
from reports.pages.index_page import build, noted, summarized, write_index
from reports.pages.study_page import write_report
from tests.reports.discriminating import discriminating
from tests.reports.planted import noisy_errors, planted_study
from tests.reports.reference_row import decided, table_of
from tests.reports.test_every_field import STUDIES
from tests.reports.test_study_page import HOSTILE, Outline


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    return planted_study({"deep": noisy_errors([2, 2, 0])})


def test_a_summary_says_what_the_study_found_or_why_nothing(study: StudyRecord) -> None:
    found = summarized(study)
    assert [(row.name, row.recommended, row.label) for row in found.rows] == [
        ("initializer@deep", "he_normal", "confirmed")
    ]
    interim = summarized(replace(study, evaluations=study.evaluations[:-3]))
    assert (interim.standing, interim.rows) == ("interim", ())
    assert "3 of" in interim.reason


def test_every_report_is_listed_and_nothing_is_fetched(study: StudyRecord, tmp_path: Path) -> None:
    for name, title in (("b", "Second"), ("a", HOSTILE)):
        record = replace(study, name=name, title=title)
        write_report(record, tmp_path / name)
        noted(record, tmp_path / name)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "index.html").write_text("by an older version", encoding="utf-8")
    (tmp_path / "d").mkdir()  # a report that was never written
    page = write_index(tmp_path)
    outline = Outline(page.read_text(encoding="utf-8"))
    assert outline.references == ["a/index.html", "b/index.html", "c/index.html"]
    assert HOSTILE in outline.text
    assert "script" not in outline.tags
    assert "rebuild it with groundrules report c" in outline.text
    assert build(tmp_path) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 1}', "\ud800"])
def test_a_summary_that_cannot_be_read_costs_no_index(study: StudyRecord, tmp_path: Path, text: str) -> None:
    write_report(study, tmp_path / "a")
    (tmp_path / "a" / "summary.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    assert "Written by another version" in build(tmp_path)


def test_an_empty_workspace_has_an_index(tmp_path: Path) -> None:
    assert "No study has a report yet" in build(tmp_path)


@pytest.mark.parametrize("name", ["raced and open", "one look"])
def test_a_summary_has_every_row_as_it_was_decided(name: str) -> None:
    record = discriminating(**STUDIES[name])
    summary = summarized(record)
    expected = {regime: decided(table_of(record, regime)) for regime in record.regimes}
    assert len({decision.decided_by for decision in expected.values()}) == 2, "else any row would do"
    assert [(row.name, row.recommended, row.label, row.fallback) for row in summary.rows] == [
        (f"initializer@{regime}", found.recommended, found.label, found.decided_by == "fallback")
        for regime, found in expected.items()
    ]
    part = summarized(replace(record, evaluations=record.evaluations[:-7]))
    whole = len(record.evaluations)
    assert (part.finished, part.planned, part.standing) == (whole - 7, whole, "interim")
    assert (summary.finished, summary.planned, summary.standing) == (whole, whole, "evidence")
