"""B5: what MLflow costs a study of real trainings on 2 workers, and what a kill -9 loses or doubles.

    python -m tests.benchmarks.tracking_cost [--repeats 5] [--families 8] [--blocks 2] [--kills 2]

The quickstart with fewer blocks is run with Ray without a tracker and at the details `cells`, `evidence`
and `members` (the default), each in a process and a workspace of its own, one after the other in an order
that turns from repeat to repeat. A ratio compares two runs of one repeat by the wall clock, from the call
to its return, the last row in MLflow included; so does loading MLflow, whose seconds are printed beside.
Where the machine is noisier than what is measured, the share says more: what MLflow's thread took of one run,
as CPU over that of as many cores as there are workers, with the seconds the run waited for it at its end. No
run is compared with another. It is not a slow-down: what caches and Python's lock cost others is not in it.
Then a study at the default detail is killed, a worker first and then the driver, at random moments; the
driver's is resumed. Lost and doubled are members and points of curves in MLflow against those of the
ledger. MLflow is SQLite in the driver's process here, so there is no server to kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from studies.spec.load import read
from studies.spec.tracking_detail import Detail

DETAILS: tuple[Detail, ...] = ("cells", "evidence", "members")
OFF = "off"


def study(families: int, blocks: int, detail: str) -> dict[str, Any]:
    """The quickstart, smaller."""
    whole = read("quickstart")
    budget = {**whole["budget"], "families": families, "blocks": blocks}
    return {**whole, "budget": budget, **({} if detail == OFF else {"tracking": detail})}


def one(plain: dict[str, Any], detail: str, workers: int, workspace: Path) -> dict[str, float]:
    """One run in this process: wall clock, the driver's CPU, members."""
    from studies.run import run
    from studies.spec.load import parse
    from studies.tracking.tracker import Tracker

    spec = parse(plain)

    class Measured(Tracker):
        """Takes the CPU time of its own thread, and how long a run waits for it at the end."""

        cpu = waited = 0.0

        def _work(self) -> None:
            super()._work()
            self.cpu = time.thread_time()

        def stop(self) -> None:
            since = time.perf_counter()
            super().stop()
            self.waited = time.perf_counter() - since

    tracker = None if detail == OFF else Measured(workspace, spec.study, detail=spec.tracking)
    began, cpu = time.perf_counter(), time.process_time()
    done = run(
        spec,
        workspace=workspace,
        workers=workers,
        tracking=tracker,
        watch=tracker.watch if tracker else None,
    )
    found = {"seconds": time.perf_counter() - began, "driver": time.process_time() - cpu}
    assert done.complete and not (tracker and tracker.problem), tracker and tracker.problem
    took, waited = (tracker.cpu, tracker.waited) if tracker else (0.0, 0.0)
    others = workers * (found["seconds"] - waited) - took
    share = {"mlflow": took, "waited": waited, "share": took / others + waited / (found["seconds"] - waited)}
    return {**found, **share, "members": float(done.finished), "loading": _loading()}


def _loading() -> float:
    """CPU seconds until MLflow can be written to, in a process of its own."""
    code = (
        "import time, mlflow.store.tracking.sqlalchemy_store as s, tempfile as t\n"
        "with t.TemporaryDirectory() as f: s.SqlAlchemyStore(f'sqlite:///{f}/m.db', f).engine.dispose()\n"
        "print(time.process_time())"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return float(ran.stdout.split()[-1])


def command(asked: argparse.Namespace, detail: str, workspace: Path) -> list[str]:
    """What starts `one` elsewhere."""
    sizes = ["--families", asked.families, "--blocks", asked.blocks, "--workers", asked.workers]
    words = [*sizes, "--one", detail, workspace]
    return [sys.executable, "-m", "tests.benchmarks.tracking_cost", *map(str, words)]


def costs(asked: argparse.Namespace) -> None:
    """Prints the ratios of every detail."""
    kinds = [OFF, *DETAILS]
    rows: list[dict[str, dict[str, float]]] = []
    for repeat in range(asked.repeats):
        row = {}
        for detail in kinds[repeat % len(kinds) :] + kinds[: repeat % len(kinds)]:
            with tempfile.TemporaryDirectory() as folder:
                ran = subprocess.run(command(asked, detail, Path(folder)), check=True, stdout=subprocess.PIPE)
            row[detail] = json.loads(ran.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"repeat {repeat + 1}: " + ", ".join(f"{k} {row[k]['seconds']:.1f} s" for k in kinds), flush=True
        )
    members = rows[0][OFF]["members"]
    loading = statistics.median(row[OFF]["loading"] for row in rows)
    print(f"{members:.0f} members, {asked.workers} workers; loading MLflow takes {loading:.1f} s of CPU")
    print(
        "tracking   slow-down: median (range)   driver CPU ms/member   MLflow's CPU, waited, share of the run"
    )
    for detail in kinds:
        ratios = [row[detail]["seconds"] / row[OFF]["seconds"] - 1 for row in rows]
        each = statistics.median(1e3 * row[detail]["driver"] / members for row in rows)
        spread = f"({min(ratios):+.1%} to {max(ratios):+.1%})"
        took, waited = (statistics.median(row[detail][key] for row in rows) for key in ("mlflow", "waited"))
        shares = [row[detail]["share"] for row in rows]
        print(
            f"{detail:10} {statistics.median(ratios):+7.1%} {spread:22} {each:10.2f}   "
            f"{took:.2f} s, {waited:.2f} s, {statistics.median(shares):.1%} "
            f"({min(shares):.1%} to {max(shares):.1%})"
        )


def kills(asked: argparse.Namespace) -> None:
    """Prints what is lost and doubled after a kill of a worker, and of the driver with a resume."""
    draw = random.Random(asked.seed)
    for number in range(asked.kills):
        victim = ("worker", "driver")[number % 2]
        with tempfile.TemporaryDirectory() as folder:
            workspace = Path(folder)
            at = _killed(command(asked, "members", workspace), workspace, victim, draw)
            if victim == "driver":
                subprocess.run(command(asked, "members", workspace), check=True, stdout=subprocess.DEVNULL)
            print(f"kill -9 of a {victim} at {at} members: {compare(workspace)}", flush=True)


def _killed(words: list[str], workspace: Path, victim: str, draw: random.Random) -> int:
    """Starts a study and kills; returns how many members the ledger held."""
    shown = "SELECT COUNT(*) FROM tags WHERE key = 'groundrules.evaluation'"
    driver = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        while driver.poll() is None and not _count(workspace / "mlflow.db", shown):
            time.sleep(0.1)
        time.sleep(draw.uniform(0, 3))
        assert driver.poll() is None, "it ended before it could be killed: ask for more families"
        at = _count(workspace / "ledger.sqlite", "SELECT COUNT(*) FROM evaluations")
        os.kill(driver.pid if victim == "driver" else _worker_of(driver.pid), signal.SIGKILL)
        code = driver.wait()
    finally:
        driver.kill()
    assert code == (-signal.SIGKILL if victim == "driver" else 0), code
    return at


def _worker_of(driver: int) -> int:
    """A process that trains packs for this driver."""
    parents: dict[int, int] = {}
    trainers: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(") ")[2].split()[1])
            if "PackTrainer" in (process / "cmdline").read_text(errors="replace"):
                trainers.append(int(process.name))
    for trainer in trainers:
        above = trainer
        while above > 1 and above != driver:
            above = parents.get(above, 0)
        if above == driver:
            return trainer
    raise AssertionError("no worker is there to be killed")


def compare(workspace: Path) -> str:
    """The members and points of curves in MLflow against the ledger's, by the default detail."""
    from studies.ledger.ledger import Ledger
    from studies.spec.tracking_detail import shown, with_curve

    with Ledger.open(workspace) as ledger:
        (row,) = ledger.studies()
        rows = [e for e in ledger.evaluations(row.name) if shown(e, "members")]
    members: Counter[Any] = Counter(e.id for e in rows)
    points: Counter[Any] = Counter(
        (e.id, look.step) for e in rows if with_curve(e, "members") for look in e.curve
    )
    ids = "SELECT t.value{} FROM tags t {} WHERE t.key = 'groundrules.evaluation'{}"
    curve = "JOIN metrics m ON m.run_uuid = t.run_uuid"
    with closing(sqlite3.connect(workspace / "mlflow.db")) as store:
        found: Counter[Any] = Counter(id_ for (id_,) in store.execute(ids.format("", "", "")))
        looks: Counter[Any] = Counter(
            (id_, step)
            for id_, step in store.execute(ids.format(", m.step", curve, " AND m.key = 'curve/train_loss'"))
        )
    parts = [
        f"{sum(expected.values())} {what}, {sum((expected - held).values())} lost, "
        f"{sum((held - expected).values())} doubled"
        for what, expected, held in (("members", members, found), ("points of curves", points, looks))
    ]
    return "; ".join(parts)


def _count(file: Path, question: str) -> int:
    if not file.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as found:
            return int(found.execute(question).fetchone()[0])
    except sqlite3.OperationalError:  # it is being made, or written
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="0: only the kills")
    parser.add_argument("--families", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2, help="how often; workers and drivers take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("DETAIL", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        detail, folder = asked.one
        found = one(study(asked.families, asked.blocks, detail), detail, asked.workers, Path(folder))
        print(json.dumps(found))
        return
    if asked.repeats:
        costs(asked)
    kills(asked)


if __name__ == "__main__":
    main()
