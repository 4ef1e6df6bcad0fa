"""What happens to the stores: a ledger and an MLflow store that others lock."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from studies.ledger.sqlite import FILE
from tests.faults.proxy import Behaviour, FaultyProxy
from tests.faults.rows.row import Bench, Found, Row
from tests.mlflow_server import mlflow_server

HELD = 12.0
"""Seconds for which a lock is held."""
OUTAGE = 15.0


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


def server_killed(bench: Bench, name: str, draw: random.Random) -> Found:
    """kill -9 of the MLflow server for 15 s."""
    place = bench.place(name)
    with mlflow_server(bench.folder / f"{name}-server") as server:
        running = place.start(more={"GROUNDRULES_TRACKING": server.address})
        place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
        server.kill()
        time.sleep(OUTAGE)
        server.start()
        assert running.wait() == 0, running.said[-3000:]
        return bench.found(place, faults=1, database=server.folder / "mlflow.db")


def half_open(bench: Bench, name: str, draw: random.Random) -> Found:
    """The way to the MLflow server is slow, then says 503, then loses answers, then requests."""
    place = bench.place(name)
    with (
        mlflow_server(bench.folder / f"{name}-server") as server,
        closing(FaultyProxy("127.0.0.1", server.port)) as proxy,
    ):
        running = place.start(more={"GROUNDRULES_TRACKING": proxy.address})
        place.until(running, draw.randrange(1, max(2, bench.packs() // 3)))
        ways: list[Behaviour] = ["unavailable", "lose_answers", "lose_requests"]
        draw.shuffle(ways)
        proxy.behave("pass", latency=1.0)
        time.sleep(5)
        for way in ways:
            proxy.behave(way)
            time.sleep(5)
            proxy.behave("pass")
            time.sleep(1)
        assert running.wait() == 0, running.said[-3000:]
        return bench.found(place, faults=4, database=server.folder / "mlflow.db")


def outbox_full(bench: Bench, name: str, draw: random.Random) -> Found:
    """No MLflow server all the while, and the driver killed; when both are back, everything is shown."""
    place = bench.place(name)
    with mlflow_server(bench.folder / f"{name}-server") as server:
        server.kill()
        running = place.start(more={"GROUNDRULES_TRACKING": server.address})
        place.until(running, draw.randrange(2, max(3, bench.packs())))
        running.kill()
        server.start()
        again = place.start(more={"GROUNDRULES_TRACKING": server.address})
        assert again.wait() == 0, again.said[-3000:]
        return bench.found(place, faults=2, database=server.folder / "mlflow.db")


def _held(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=20, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        time.sleep(HELD)
        db.execute("ROLLBACK")
    return True


ROWS = (
    Row(number=11, name="ledger and MLflow's database locked", run=locked),
    Row(number=12, name="MLflow server killed for 15 s", run=server_killed),
    Row(number=13, name="MLflow slow, 503, half open", run=half_open),
    Row(number=14, name="driver killed with a full outbox", run=outbox_full),
)
