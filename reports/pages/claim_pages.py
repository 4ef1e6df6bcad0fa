"""The cards of claims on pages, kept in step with the ledger of the whole workspace.

A study's page is made from that study alone; what the ledger says of its claims depends on the others too. So
the section with the cards is replaced when any study of the workspace is reported, without judging it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.claims.ledger import ClaimEntry, workspace_entries
from reports.io.safe_paths import refuse_link, write
from reports.pages.study_page import environment

FIRST, LAST = "<!-- claims of this study -->", "<!-- end of claims -->"
"""Text from outside is escaped, so that it never contains them."""


def section(entries: Sequence[ClaimEntry]) -> str:
    """The section of a study's page with its cards, marks included."""
    text = environment().get_template("claims.html").render(claim_entries=entries)
    return text[text.index(FIRST) : text.index(LAST) + len(LAST)]


def refreshed(page: str, entries: Sequence[ClaimEntry]) -> str:
    """The page with its cards as the ledger has them now; a page without cards as it is."""
    before, first, remainder = page.partition(FIRST)
    _, last, after = remainder.partition(LAST)
    return f"{before}{section(entries)}{after}" if first and last else page


def refresh(reports: Path) -> None:
    """Brings the cards on every page of a folder of reports in step with their common ledger."""
    entries = workspace_entries(reports)
    for study in dict.fromkeys(entry.card.study for entry in entries):
        file = reports / study / "index.html"
        if file.is_file():
            text = file.read_bytes().decode()
            now = refreshed(text, [entry for entry in entries if entry.card.study == study])
            if now != text:
                refuse_link(file.parent)
                write(file, now)
