"""One small self-contained HTML page per scope: which ranges to widen, which numbers matter."""

from __future__ import annotations

from pathlib import Path

from reports.evidence.range_scan_record import SCOPE, RangeScanRecord, span
from reports.io.dataclass_files import json_text
from reports.io.safe_paths import make_folder, write
from reports.pages.index_page import SUMMARY, Summary, write_index
from reports.pages.study_page import environment


def write_scope_page(found: RangeScanRecord, folder: Path) -> Path:
    """Writes `index.html` into `folder`, and lists it on the index page beside; returns the page's path."""
    make_folder(folder)
    html = build(found)
    summary = Summary(
        name=found.name,
        title=f"Ranges: {found.title or found.name}",
        kind="scope",
        standing="exploratory" if found.complete else "interim",
        reason="" if found.complete else "not all members are there yet",
        scope=f"tasks that are never judged: {', '.join(found.facts)}; {found.hardware}",
        finished=found.finished,
        planned=found.planned,
        rows=(),
    )
    write(folder / SUMMARY, json_text(summary))
    page = folder / "index.html"
    write(page, html)
    write_index(folder.parent)
    return page


def build(found: RangeScanRecord) -> str:
    """The page's text."""
    html = environment().get_template("scope.html").render(found=found, scope=SCOPE, span=span)
    return html + "\n"
