"""What a workspace's ledger says, as pages and files: a study's report and defaults, and the index of all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from studies.workspace_files import REPORTS

if TYPE_CHECKING:
    from reports.defaults.schema import Defaults
    from reports.evidence.search_record import SearchRecord
    from reports.evidence.study_record import StudyRecord


def write_pages(workspace: Path, record: StudyRecord | SearchRecord) -> tuple[Path, Path | None]:
    """The report, beside it the defaults where the study carries verdicts, and the index of the workspace."""
    from reports import validity_status, write_report, write_search_report
    from reports.evidence.search_record import SearchRecord
    from reports.io.safe_paths import own_folder, write
    from reports.pages.claim_pages import refresh
    from reports.pages.index_page import noted, write_index

    folder = workspace.absolute() / REPORTS / record.name
    defaults: Path | None
    try:
        own_folder(workspace.absolute(), REPORTS, record.name)
        if isinstance(record, SearchRecord):
            page, defaults = write_search_report(record, folder), None
        else:
            defaults = folder / "defaults.yaml"
            judged = validity_status(record).kind == "evidence"
            if judged:  # before the page: a kill leaves none that says more than what lies beside it
                write(defaults, defaults_text(record, "yaml"))
            page = write_report(record, folder)
            if not judged:
                defaults.unlink(missing_ok=True)
                defaults = None
        noted(record, folder)
        refresh(folder.parent)
        write_index(folder.parent)
    except OSError as error:
        raise ValueError(f"cannot write the report into {folder} ({error})") from error
    return page, defaults


def defaults_text(record: StudyRecord, format: str, previous: Path | None = None) -> str:
    """A study's recommended defaults as a file; arguments as of `defaults_of`.

    `format` is one of `reports.export.formats.FORMATS`.
    """
    from reports.export.formats import render

    return render(defaults_of(record, previous), format)


def defaults_of(record: StudyRecord, previous: Path | None = None) -> Defaults:
    """A study's recommended defaults; EvidenceError unless it carries verdicts.

    Args:
        record: a complete study.
        previous: the file of the last release, or `published`: its levels stay while they are admissible.
    """
    from reports.defaults.defaults_file import defaults
    from reports.verdicts.verdict import verdicts
    from studies.commands.defaults_sources import PUBLISHED, published, read_table

    old = None
    if previous is not None:
        old = published() if str(previous) == PUBLISHED else read_table(previous)
    return defaults(record, verdicts(record), old)


def emit(text: str, output: Path | None) -> None:
    """To the screen (also as `-`), or to a file; ValueError where that cannot be written."""
    from reports.io.safe_paths import save

    if output is None or str(output) == "-":
        sys.stdout.write(text)
        return
    try:
        save(output, text)
    except OSError as error:
        raise ValueError(f"cannot write {output} ({error})") from error
