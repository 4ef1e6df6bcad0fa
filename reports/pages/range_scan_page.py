"""One small self-contained HTML page per scope: which ranges to widen, which numbers matter."""

from __future__ import annotations

from pathlib import Path

from reports.evidence.range_scan_record import SCOPE, RangeScanRecord, span
from reports.io.dataclass_files import json_text
from reports.io.safe_paths import make_folder, write
from reports.pages.index_page import SUMMARY, Summary, write_index
from reports.pages.study_page import environment


def write_scope_page(record: RangeScanRecord, folder: Path) -> Path:
    """Writes `index.html` into `folder`, and lists it on the index page beside; returns the page's path."""
    make_folder(folder)
    html = build(record)
    summary = Summary(
        name=record.name,
        title=f"Ranges: {record.title or record.name}",
        kind="scope",
        standing="exploratory" if record.complete else "interim",
        reason="" if record.complete else "not all members are there yet",
        scope=f"tasks that are never judged: {', '.join(record.facts)}; {record.hardware}",
        finished=record.finished,
        planned=record.planned,
        rows=(),
    )
    write(folder / SUMMARY, json_text(summary))
    page = folder / "index.html"
    write(page, html)
    write_index(folder.parent)
    return page


def build(record: RangeScanRecord) -> str:
    """The page's text."""
    html = environment().get_template("scope.html").render(record=record, scope=SCOPE, span=span)
    return html + "\n"
