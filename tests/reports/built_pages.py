"""Built pages of discriminating studies, what ought to stand on them, and numbers as pages print them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from reports.evidence.study_record import StudyRecord
from reports.pages.study_page import write_report
from tests.reports import reference, reference_row
from tests.reports.discriminating import discriminating
from tests.reports.pages import Page
from tests.reports.reference_row import Decision, Table, decided, table_of
from tests.reports.test_every_field import STUDIES

LABELS = {
    "confirmed": "confirmed",
    "tied": "tied",
    "contradicted": "contradicted",
    "insufficient": "insufficient evidence",
    "unlisted": "not in the textbook",
}
MARKS = {"confirmed": "✓", "tied": "=", "contradicted": "✗", "insufficient": "?", "unlisted": "+"}
REGIMES = ("shallow", "deep")


@dataclass(frozen=True, kw_only=True)
class Built:
    """A page, and what ought to stand on it."""

    record: StudyRecord
    page: Page
    sheets: dict[str, list[list[str]]]
    tables: dict[str, Table]
    decisions: dict[str, Decision]

    def rows(self) -> list[tuple[str, str, Table, Decision, tuple[int, int]]]:
        """(section, regime, table, decision, headline) of every row."""
        found = []
        for number, regime in enumerate(REGIMES, start=1):
            pair = reference_row.headline(self.tables[regime], self.decisions[regime])
            assert pair is not None
            found.append((f"row-{number}", regime, self.tables[regime], self.decisions[regime], pair))
        return found


@cache
def built_page(name: str) -> Built:
    """The page of one of STUDIES."""
    record = discriminating(**STUDIES[name])
    tables = {regime: table_of(record, regime) for regime in REGIMES}
    with TemporaryDirectory() as folder:
        text = write_report(record, Path(folder)).read_text(encoding="utf-8")
        files = Path(folder).glob("*.csv")
        sheets = {path.name: list(csv.reader(path.read_text("utf-8").splitlines())) for path in files}
    return Built(
        record=record,
        page=Page(text),
        sheets=sheets,
        tables=tables,
        decisions={regime: decided(table) for regime, table in tables.items()},
    )


PAGES = ("raced and open", "few families, no such row")
"""One with a dropped level, a robust default and an open row; one about these tasks alone."""


def signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def ranged(value: float, ends: Sequence[float]) -> str:
    return f"{signed(value)} [{signed(ends[0])}, {signed(ends[1])}]"


def short(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def badge(label: str) -> str:
    return f"{MARKS[label]} {LABELS[label]}"


def points(table: Table, pair: tuple[int, int]) -> float:
    both = table.both(*pair)
    return 100 * (reference_row.raw(both, pair[0]) - reference_row.raw(both, pair[1]))


def mean_of(table: Table, a: int, b: int) -> float:
    return float(np.mean(table.effects(a, b)))


def interval_of(table: Table, a: int, b: int) -> tuple[float, float]:
    if table.general:
        return reference.bounds(table.effects(a, b), 0.025)
    mean, error, freedom = reference.over_splits(table.errors, table.delta, table.family, table.overlap, a, b)
    half = reference.quantile(0.025, freedom) * error
    return mean - half, mean + half
