"""What happens to the stores: a ledger and an MLflow store that others lock."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from studies.ledger import FILE
from tests.faults.rows.row import Bench, Found, Row

HELD = 12.0
"""Seconds for which a lock is held."""


def locked(bench: Bench, name: str, draw: random.Random) -> Found:
    """Another connection holds the ledger, and then MLflow's database, exclusively."""
    place = bench.place(name)
    running = place.start()
    place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
    held = [_held(place.workspace / FILE)]
    if not running.over and (place.workspace / "mlflow.db").is_file():
        held.append(_held(place.workspace / "mlflow.db"))
    assert running.wait() == 0, running.said[-3000:]
    return bench.found(place, faults=sum(held))


def _held(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=20, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        time.sleep(HELD)
        db.execute("ROLLBACK")
    return True


ROWS = (Row(number=11, name="ledger and MLflow's database locked", run=locked),)
