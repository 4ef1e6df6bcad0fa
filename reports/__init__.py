"""What the evidence says: questions, comparisons, verdicts, defaults, pages.

The doors are found here by name and loaded on first use, so that a worker which only needs a noun does not
import statistics and drawing. The submodule `reports.defaults` holds `defaults` and `load`;
`reports.export_formats` holds `render`.
"""

from __future__ import annotations

import runpy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

runpy.run_path(str(Path(__file__).parents[1] / "search_spaces" / "precedence.py"))["claim"](__name__)

if TYPE_CHECKING:
    from reports.guards import EvidenceError
    from reports.page import write_report
    from reports.power import settle_probability
    from reports.search_page import write_search_report
    from reports.validity import standing
    from reports.verdict import verdicts

__all__ = [
    "EvidenceError",
    "settle_probability",
    "standing",
    "verdicts",
    "write_report",
    "write_search_report",
]

_HOMES = {
    "EvidenceError": "reports.guards",
    "settle_probability": "reports.power",
    "standing": "reports.validity",
    "verdicts": "reports.verdict",
    "write_report": "reports.page",
    "write_search_report": "reports.search_page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'reports' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
