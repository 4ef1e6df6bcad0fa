"""What the evidence says: questions, comparisons, verdicts, defaults, pages.

The doors are found here by name and loaded on first use, so that a worker which only needs a noun does not
import statistics and drawing. The submodule `reports.defaults.defaults_file` holds `defaults` and `load`;
`reports.export.formats` holds `render`.
"""

from __future__ import annotations

import runpy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

runpy.run_path(str(Path(__file__).parents[1] / "search_spaces" / "precedence.py"))["claim"](__name__)

if TYPE_CHECKING:
    from reports.evidence.fairness_checks import EvidenceError
    from reports.evidence.validity import validity_status
    from reports.pages.search_page import write_search_report
    from reports.pages.study_page import write_report
    from reports.verdicts.families_needed import settle_probability

__all__ = [
    "EvidenceError",
    "settle_probability",
    "validity_status",
    "write_report",
    "write_search_report",
]

_HOMES = {
    "EvidenceError": "reports.evidence.fairness_checks",
    "settle_probability": "reports.verdicts.families_needed",
    "validity_status": "reports.evidence.validity",
    "write_report": "reports.pages.study_page",
    "write_search_report": "reports.pages.search_page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'reports' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
