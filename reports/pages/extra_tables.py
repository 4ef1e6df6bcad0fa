"""The textbook's two other tables beside what a study has of them: for pages, as data, and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.evidence.arrays import Evidence
from reports.evidence.study_record import StudyRecord
from reports.export.markdown import escaped
from reports.pages.initializer_by_activation import Pairing, pairings
from reports.pages.speed_and_quality import RULE, GradedOptimizer, OptimizerResult, graded
from reports.statistics.compare import FEW_FAMILIES
from reports.verdicts.time_to_target import targets

NOT_COVERED = "not covered"
FEW = (
    f"With fewer than {FEW_FAMILIES} families beside an activation, the interval is over the data splits of "
    "these tasks alone"
)
"""In words, for pages."""

PAIRING_COLUMNS = (
    "activation",
    "regime",
    "textbook",
    "least_error",
    "against",
    "difference_in_margins",
    "low",
    "high",
    "interval_over",
    "families",
)
GRADED_COLUMNS = (
    "optimizer",
    "regime",
    "textbook_speed",
    "textbook_quality",
    "speed",
    "steps_ratio_to_soonest",
    "steps_low",
    "steps_high",
    "share_that_got_there",
    "quality",
    "error_above_least_in_margins",
    "low",
    "high",
    "least_error",
    "families",
)


@dataclass(frozen=True, kw_only=True)
class TableData:
    """The data of a table without a picture."""

    name: str
    """Unique on the page; names the data file."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class OtherTables:
    """Both; empty where the study has no such row."""

    pairings: tuple[Pairing, ...]
    graded: tuple[GradedOptimizer, ...]
    rule: str = RULE
    few: str = FEW

    @property
    def unpaired(self) -> tuple[Pairing, ...]:
        """The textbook's pairings that the study does not cover."""
        return tuple(pair for pair in self.pairings if not pair.cells)

    @property
    def ungraded(self) -> tuple[GradedOptimizer, ...]:
        """The textbook's optimizers that the study does not cover."""
        return tuple(row for row in self.graded if not row.results)

    @property
    def sheets(self) -> tuple[TableData, ...]:
        """The data of each table that is there."""
        return (
            *([self.pairing_sheet] if self.pairings else []),
            *([self.graded_sheet] if self.graded else []),
        )

    @property
    def pairing_sheet(self) -> TableData:
        """Initializer by activation, one line for each activation and regime."""
        rows: list[tuple[str | float | int, ...]] = []
        for pair in self.pairings:
            book = " ".join(pair.textbook)
            for one in pair.cells:
                ends = map(_finite, one.interval)
                row_name = (pair.activation, one.regime, book, one.least, one.against)
                rows.append((*row_name, one.margins, *ends, one.over, one.families))
            if not pair.cells:
                rows.append((pair.activation, NOT_COVERED, book, *[""] * 7))
        return TableData(
            name="initializer-by-activation",
            columns=PAIRING_COLUMNS,
            rows=tuple(rows),
        )

    @property
    def graded_sheet(self) -> TableData:
        """Optimizers by speed and quality, one line for each optimizer and regime."""
        rows: list[tuple[str | float | int, ...]] = []
        for row in self.graded:
            book = (row.textbook.speed, row.textbook.quality) if row.textbook else ("", "")
            for one in row.results:
                times = one.ratio or ("", "", "")
                reached = "" if one.reached is None else one.reached
                ends = map(_finite, one.interval)
                speed = (row.level, one.regime, *book, one.speed, *times, reached)
                rows.append((*speed, one.quality, one.margins, *ends, one.best, one.families))
            if not row.results:
                rows.append((row.level, NOT_COVERED, *book, *[""] * 11))
        return TableData(
            name="optimizers-by-speed-and-quality",
            columns=GRADED_COLUMNS,
            rows=tuple(rows),
        )


def other_tables(record: StudyRecord, rows: Sequence[Evidence]) -> OtherTables:
    """Both tables from the evidence of all rows."""
    goals = {regime: targets(record, regime) for regime in {row.regime for row in rows}}
    return OtherTables(pairings=pairings(record, rows), graded=graded(record, rows, goals))


def other_tables_markdown(tables: OtherTables) -> str:
    """Both as Markdown; '' where the study has neither row."""
    if not tables.sheets:
        return ""
    lines = ["## The textbook's other tables, from the same runs", ""]
    lines += ["Exploratory: no row here is an answer. The level of least error was picked after looking, and"]
    lines += ["its interval (95 %) does not know that.", ""]
    if tables.pairings:
        lines += [
            "| activation | regime | textbook | least error here | difference (margins, 95 %) | families |"
        ]
        lines += ["|---|---|---|---|---|---|", *_pairing_lines(tables.pairings), "", f"{FEW}.", ""]
    if tables.graded:
        lines += [
            "| optimizer | regime | speed, textbook | speed, here | steps, times the soonest's | "
            "quality, textbook | quality, here | error above the least (margins, 95 %) | families |",
            "|---|---|---|---|---|---|---|---|---|",
            *_graded_lines(tables.graded),
            "",
            f"{tables.rule}. In seconds: not measured.",
            "",
        ]
    return "\n".join(lines)


def _pairing_lines(pairings: Sequence[Pairing]) -> list[str]:
    lines = []
    for pair in pairings:
        book = " or ".join(pair.textbook) or "–"
        for one in pair.cells:
            whose = "the textbook's" if one.paired else "the next"
            gap = f"{_ranged(one.margins, *one.interval)} to {one.against}, {whose}"
            lines.append(_line(pair.activation, one.regime, book, one.least, gap, str(one.families)))
        if not pair.cells:
            lines.append(_line(pair.activation, NOT_COVERED, book, "", "", ""))
    return lines


def _graded_lines(graded: Sequence[GradedOptimizer]) -> list[str]:
    lines = []
    for row in graded:
        speed, quality = (row.textbook.speed, row.textbook.quality) if row.textbook else ("–", "–")
        for one in row.results:
            gap = "0" if row.level == one.best else _ranged(one.margins, *one.interval)
            cells = (row.level, one.regime, speed, one.speed, _steps(one), quality, one.quality, gap)
            lines.append(_line(*cells, str(one.families)))
        if not row.results:
            lines.append(_line(row.level, NOT_COVERED, speed, "", "", quality, "", "", ""))
    return lines


def _steps(one: OptimizerResult) -> str:
    if one.ratio is None:
        return "–" if one.reached is None else "1"
    return "{:.2f} [{:.2f}, {:.2f}]".format(*one.ratio)


def _ranged(value: float, low: float, high: float) -> str:
    if not all(map(math.isfinite, (low, high))):
        return f"{value:+.2f} [unbounded]"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _line(*cells: str) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def _finite(value: float) -> str | float:
    return value if math.isfinite(value) else ""
