"""What a shared MLflow costs: members written per second, and seconds until a reader sees each page.

    python -m tests.benchmarks.mlflow_pages [--trials 14] [--server-workers 4] [--repeats 3]

A planted study (no training) of at least 1,000 members is mirrored into a real PostgreSQL directly, then
another of the same size to a real MLflow server over http, with that PostgreSQL behind it. Then the server's
pages are opened in headless Chromium: from the request to everything being there that the page must show,
median and range over the repeats. All of it shares this machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from studies.cli import invoke
from studies.tracking.database import postgresql_uri
from studies.tracking.tracker import Tracker
from tests.browser import browser
from tests.mlflow_pages import seconds_to_show, study_pages
from tests.mlflow_server import mlflow_server
from tests.postgres import serving
from tests.studies.planted import agenda_of, planned, started, tiny, train_all
from tests.studies.test_shared_tracking import site
from tests.studies.test_tracking import curved


def plant(workspace: Path, study: str, trials: int) -> int:
    """A complete study in the workspace's ledger; how many members it has."""
    spec = tiny(study=study, budget={"families": 3, "blocks": 4, "trials": trials})
    ledger, fixed = started(workspace, planned(spec))
    with ledger:
        train_all(agenda_of(ledger, fixed), make=curved)
        return len(ledger.evaluations(study))


def mirrored(workspace: Path, study: str) -> float:
    """Seconds until all of it is in MLflow, loading MLflow included; goes on where a run's patience ends."""
    began = time.perf_counter()
    while True:
        tracker = Tracker(workspace, study)
        tracker.start()
        tracker.stop()
        if not tracker.problem:
            return time.perf_counter() - began
        print(f"{study}: {tracker.problem}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=14)
    parser.add_argument("--server-workers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving() as postgres:
        place, address = Path(folder), postgres.database()
        for study, tracking in (("first", address), ("direct", address)):
            workspace = site(place / study, tracking=tracking)
            members = plant(workspace, study, asked.trials)
            seconds = mirrored(workspace, study)
            print(f"{study} into PostgreSQL: {members} members in {seconds:.1f} s", flush=True)
        database = postgresql_uri(address)
        with mlflow_server(place / "server", database=database, workers=asked.server_workers) as server:
            workspace = site(place / "http", tracking=server.address)
            members = plant(workspace, "http", asked.trials)
            seconds = mirrored(workspace, "http")
            each = 1e3 * seconds / members
            print(f"over http: {members} members in {seconds:.1f} s, {each:.0f} ms each", flush=True)
            assert invoke(["report", "http", "--workspace", str(workspace)]) == 0
            with browser(place / "chromium") as tab:
                for page in study_pages(server.address, "http", words="he_normal"):
                    took = [seconds_to_show(tab, page) for _ in range(asked.repeats)]
                    middle = statistics.median(took)
                    print(f"{page.name:24} {middle:5.1f} s ({min(took):.1f} to {max(took):.1f})", flush=True)


if __name__ == "__main__":
    main()
