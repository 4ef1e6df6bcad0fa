"""The index of a workspace: one page over all of its studies, made of the summary each report leaves.

A summary lies beside its report (`summary.json`), so that the index never has to judge a study again. Nothing
here reads a clock or a path: the same reports give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reports.claims.ledger import workspace_entries
from reports.evidence.search_record import SearchRecord
from reports.evidence.study_record import StudyRecord
from reports.evidence.validity import validity_status
from reports.io.dataclass_files import from_dict, json_text, optional_field
from reports.io.safe_paths import read_bounded, write
from reports.pages.study_page import environment
from reports.statistics.decision import Label
from reports.verdicts import sentences
from reports.verdicts.validity_scope import scope_of
from reports.verdicts.verdict import verdicts

SUMMARY = "summary.json"
LONGEST_SUMMARY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class AnsweredRow:
    """One row of a study's table, as the index lists it."""

    name: str
    recommended: str
    label: Label
    fallback: bool
    trained: bool | None = optional_field()
    """False where nobody trained the recommended level; None otherwise."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the index says of one study."""

    name: str
    title: str
    kind: str
    """'guideline', 'search' or 'scope'."""
    standing: str
    """'evidence', 'interim', 'exploratory', 'refused' or 'unjudged'."""
    reason: str
    """Why there are no verdicts, where there are none."""
    scope: str
    finished: int
    planned: int
    rows: tuple[AnsweredRow, ...]


def summarized(record: StudyRecord | SearchRecord) -> Summary:
    """What the index says of a study."""
    if isinstance(record, SearchRecord):
        return Summary(
            name=record.name,
            title=record.title or record.name,
            kind="search",
            standing="exploratory" if record.complete else "interim",
            reason="" if record.complete else "not all trials are there yet",
            scope=f"one task, {record.facts.name}, {record.hardware}",
            finished=len(record.evaluations),
            planned=record.planned,
            rows=(),
        )
    now = validity_status(record)
    judged = verdicts(record) if now.kind == "evidence" else ()
    return Summary(
        name=record.name,
        title=record.title or record.name,
        kind="guideline",
        standing=now.kind,
        reason=now.reason,
        scope=scope_of(record).sentence(),
        finished=len(record.evaluations),
        planned=sum(record.planned.values()),
        rows=tuple(
            AnsweredRow(
                name=f"{v.factor}@{v.regime}",
                recommended=v.recommended,
                label=v.label,
                fallback=v.decided_by == "fallback",
                trained=None if v.trained else False,
            )
            for v in judged
        ),
    )


def noted(record: StudyRecord | SearchRecord, folder: Path) -> None:
    """Leaves the study's summary beside its report."""
    write(folder / SUMMARY, json_text(summarized(record)))


def write_index(folder: Path) -> Path:
    """Writes `index.html` over the reports in `folder`, by name; returns its path.

    A report whose summary cannot be read (a version before this one wrote it) is listed by its name alone.
    """
    page = folder / "index.html"
    write(page, build(folder))
    return page


def build(folder: Path) -> str:
    """The page's text."""
    pages = sorted(path.parent for path in folder.glob("*/index.html"))
    entries = [(path.name, _read(path / SUMMARY), (path / "defaults.yaml").is_file()) for path in pages]
    counts = Counter(row.label for _, summary, _ in entries if summary for row in summary.rows)
    html = (
        environment()
        .get_template("index.html")
        .render(entries=entries, counts=counts, labels=sentences.LABELS, claims=workspace_entries(folder))
    )
    return html + "\n"


def _read(file: Path) -> Summary | None:
    try:
        return from_dict(Summary, json.loads(read_bounded(file, LONGEST_SUMMARY)), str(file))
    except (OSError, ValueError, RecursionError):
        return None
