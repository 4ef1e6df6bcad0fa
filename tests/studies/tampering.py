"""Changes a ledger behind the program's back, as somebody would who wants it to be believed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from studies.ledger.ledger import Ledger
from studies.ledger.sqlite import FILE


def tamper(ledger: Ledger, statement: str) -> None:
    """Runs the statement on the ledger's file, and then makes hashes, counts and seal fit what is left."""
    with closing(sqlite3.connect(ledger.workspace / FILE)) as file, file:
        file.execute(statement)
        file.execute(
            "UPDATE packs SET members = (SELECT COUNT(*) FROM evaluations e"
            " WHERE e.study = packs.study AND e.pack = packs.id)"
        )
    unseal(ledger.workspace, hashes=False)
    Ledger.open(ledger.workspace, create=True).close()


def unseal(workspace: Path, *, hashes: bool = True) -> None:
    """Turns a ledger into one of schema version 1, which had no seal; the first ones had no hashes either."""
    with closing(sqlite3.connect(workspace / FILE)) as file, file:
        file.execute("DROP TABLE seals")
        if not hashes:
            file.execute("DROP TABLE IF EXISTS hashes")
        file.execute("UPDATE schema_version SET version = 1")
