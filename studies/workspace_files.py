"""What the commands write in a workspace is no symbolic link, which would lead elsewhere."""

from __future__ import annotations

from pathlib import Path

from reports.io.safe_paths import refuse_database_links, refuse_link
from studies.ledger.sqlite import FILE
from studies.tracking.database import DATABASE
from studies.tracking.report_artifacts import ARTIFACTS

REPORTS = "reports"
"""The folder of a workspace that holds a folder for every study, and the index page."""
PAGES = ("index.html", "summary.json", "defaults.yaml", "claims.json", "claims.csv")


def refuse_links(workspace: Path, study: str = "") -> None:
    """Looks before anything is trained or shown; each writing looks again.

    The workspace itself may be a link, or lie below one.

    Args:
        workspace: need not exist.
        study: whose folders are looked at as well.

    Raises:
        LinkInTheWay: naming the first link.
    """
    for database in (FILE, DATABASE):
        refuse_database_links(workspace / database)
    names = [REPORTS, f"{REPORTS}/index.html", ARTIFACTS]
    if study:
        names += [f"{study}.lock", f"{ARTIFACTS}/{study}", f"{ARTIFACTS}/{study}/mirrored"]
        names += [f"{REPORTS}/{study}", *(f"{REPORTS}/{study}/{page}" for page in PAGES)]
    for name in names:
        refuse_link(workspace / name)
