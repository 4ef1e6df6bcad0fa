"""Changes a ledger behind the program's back, as somebody would who wants it to be believed."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from studies.database.sqlite import FILE
from studies.ledger import Ledger


def tamper(ledger: Ledger, statement: str) -> None:
    """Runs the statement on the ledger's file, and then makes hashes and counts fit what is left."""
    with closing(sqlite3.connect(ledger.workspace / FILE)) as file, file:
        file.execute(statement)
        file.execute("DELETE FROM hashes")  # as in a ledger from before there were any
        file.execute(
            "UPDATE packs SET members = (SELECT COUNT(*) FROM evaluations e"
            " WHERE e.study = packs.study AND e.pack = packs.id)"
        )
