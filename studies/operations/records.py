"""The record of a study, read from a workspace's ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.evidence.search_record import SearchRecord
    from reports.evidence.study_record import StudyRecord


def record_of(workspace: Path, study: str) -> StudyRecord | SearchRecord:
    """Everything the ledger holds of a study of either kind; ValueError where it has no plan yet."""
    from studies.comparison.record import study_record
    from studies.ledger.ledger import Ledger
    from studies.search.record import is_search, search_record

    with Ledger.open(workspace) as ledger:
        search = is_search(ledger.study(study))
        return search_record(ledger, study) if search else study_record(ledger, study)
