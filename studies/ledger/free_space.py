"""Gives the room of removed rows in an SQLite file back to the file system."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from reports.io.safe_paths import refuse_database_links

BUSY_SECONDS = 5.0
"""How long the file may be in use by another command."""
COPIES = 2
"""SQLite writes the file anew beside the old one, and once more into its log."""


def size_of(file: Path) -> int:
    """Bytes of an SQLite file with its log; 0 where there is none."""
    files = (file, file.with_name(f"{file.name}-wal"))
    return sum(one.stat().st_size for one in files if one.is_file())


def vacuum(file: Path) -> str:
    """Shrinks the file to what is in it; a kill leaves it as it was.

    Returns:
        Why it was left as it is; '' where it was done, or there is no such file.
    """
    refuse_database_links(file)
    if not file.is_file():
        return ""
    needed, free = COPIES * file.stat().st_size, shutil.disk_usage(file.parent).free
    if free < needed:
        return (
            f"{file.name} was not shrunk: that takes {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free"
        )
    try:
        address = f"{file.absolute().as_uri()}?mode=rw"
        with closing(
            sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        ) as opened:
            opened.execute("VACUUM")
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        return (
            f"{file.name} was not shrunk ({error}); `groundrules compact` does it when nothing else runs here"
        )
    return ""
