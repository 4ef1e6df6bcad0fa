"""The same faults for the documented stack: `python -m tests.faults.baseline [--rows 1,4] [--seeds 5]`.

Ray Tune with OptunaSearch and MLflowLoggerCallback (`tests.faults.peer`) under the rows that mean something
there, in the columns of our own table. Where its manual knows a way to resume (`Tuner.restore`), it is taken,
and counted as one human step: it is another program than the one that was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.__main__ import HEAD, RULE, line_of
from tests.faults.program import PATIENCE, ROOT, Running, command_of, descendants, nothing_left
from tests.faults.rows.row import Found
from tests.mlflow_server import mlflow_server
from tests.rehearsal.ray_nodes import ray_nodes
from tests.surroundings import SILENCE

TRIALS = 24


@dataclass(kw_only=True)
class Peer:
    """One run of the stack in a folder of its own."""

    folder: Path
    tracking: str
    """The address of its MLflow server, or of a file of its own."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def start(self, *more: str) -> Running:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "log"
        words = [str(self.folder), str(TRIALS), self.tracking, *more]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.peer", *words],
                cwd=ROOT,
                env={**os.environ, **SILENCE, **self.surroundings(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process=process, log=log)

    def surroundings(self) -> dict[str, str]:
        """What its workers need to know."""
        return {"PYTHONPATH": str(ROOT), "FAULTS_JOURNAL": str(self.journal)}

    def notes(self) -> list[dict[str, Any]]:
        with suppress(FileNotFoundError):
            return [json.loads(line) for line in self.journal.read_text(encoding="utf-8").splitlines()]
        return []

    def until(self, running: Running, begun: int) -> None:
        """Waits until so many trials were begun."""
        end = time.monotonic() + PATIENCE
        while len(self.notes()) < begun and not running.over:
            assert time.monotonic() < end, running.said[-3000:]
            time.sleep(0.02)

    def results(self) -> dict[float, float | None]:
        """Point -> error, as Tune returns them; {} where it never came to its end."""
        file = self.folder / "results.json"
        rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        return {row["rate"]: row["error"] for row in rows}

    def workers(self, running: Running) -> list[int]:
        """Processes of trials: those that have written to the journal and are there."""
        there = set(descendants(running.process.pid))
        return [pid for pid in {row["pid"] for row in self.notes()} if pid in there and command_of(pid)]


def _runs(database: Path) -> dict[float, int]:
    """Point -> runs that MLflow shows as finished."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        rows = db.execute(
            "SELECT p.value, COUNT(*) FROM runs r JOIN params p ON p.run_uuid = r.run_uuid"
            " WHERE p.key = 'learning_rate' AND r.status = 'FINISHED' GROUP BY p.value"
        ).fetchall()
    return {float(rate): count for rate, count in rows}


@dataclass(kw_only=True)
class Stack:
    """Where the rows are run, and the quiet run that they are held against."""

    folder: Path
    quiet: dict[float, float | None] = field(default_factory=dict)

    def peer(self, name: str, **environment: str) -> Peer:
        folder = self.folder / name
        return Peer(folder=folder, tracking=f"sqlite:///{folder}/mlflow.db", environment=environment)

    def found(
        self, peer: Peer, *, faults: int, steps: int = 0, resumed: Sequence[float] = (), note: str = "",
        expected: frozenset[float] = frozenset(), database: Path | None = None,
    ) -> Found:  # fmt: skip
        """Holds results and MLflow runs against the quiet run."""
        now, runs = peer.results(), _runs(database or peer.folder / "mlflow.db")
        wanted = self.quiet.keys() - expected
        missing = [rate for rate in wanted if rate not in now or now[rate] is None]
        unshown = [rate for rate in wanted if not runs.get(rate)]
        return Found(
            faults=faults,
            lost=len(missing) + len(unshown),
            doubled=sum(runs.get(rate, 0) > 1 for rate in wanted) + len(now.keys() - self.quiet.keys()),
            wrong=sum(rate in now and now[rate] not in (None, self.quiet[rate]) for rate in wanted),
            report=not missing,
            redone=len(peer.notes()) / len(self.quiet) - 1,
            resumed=resumed[0] if resumed else None,
            steps=steps,
            note=note or f"{len(missing)} results and {len(unshown)} MLflow runs missing",
        )


def quiet_run(stack: Stack) -> None:
    """Without faults."""
    peer = stack.peer("quiet")
    running = peer.start()
    assert running.wait() == 0, running.said[-3000:]
    stack.quiet = peer.results()
    assert len(stack.quiet) == TRIALS, f"{len(stack.quiet)} of {TRIALS} results:\n{running.said[-2000:]}"


def killed(stack: Stack, name: str, draw: random.Random) -> Found:
    """Row 1: kill -9 of a worker."""
    return _hit(stack, name, draw, signal.SIGKILL)


def stopped(stack: Stack, name: str, draw: random.Random) -> Found:
    """Row 4: SIGSTOP for good: Tune has no lease, so that whoever runs it must notice after a minute."""
    return _hit(stack, name, draw, signal.SIGSTOP)


def _hit(stack: Stack, name: str, draw: random.Random, how: signal.Signals) -> Found:
    peer = stack.peer(name)
    running = peer.start()
    peer.until(running, draw.randrange(3, TRIALS // 2))
    time.sleep(draw.uniform(0, 0.5))
    workers, when = peer.workers(running), time.time()
    pid = draw.choice(workers)
    os.kill(pid, how)
    steps = 0
    if how is signal.SIGSTOP:
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(60)
        if not running.over:  # somebody looks, and wakes it
            os.kill(pid, signal.SIGCONT)
            steps = 1
    code = running.wait()
    mine = [row for row in peer.notes() if row["pid"] == pid and row["at"] < when]
    again = [
        row["at"] - when
        for row in peer.notes()
        if mine and row["at"] > when and row["rate"] == mine[-1]["rate"]
    ]
    note = "" if code == 0 else f"it ended with {code}"
    return stack.found(peer, faults=1, steps=steps, resumed=again[:1], note=note)


def node_lost(stack: Stack, name: str, draw: random.Random) -> Found:
    """Row 5: kill -9 of one of two raylets."""
    peer = stack.peer(name)
    peer.folder.mkdir(parents=True, exist_ok=True)
    with ray_nodes(
        peer.folder, workers=2, cpus=1, head_cpus=0, environment=peer.surroundings() | SILENCE
    ) as nodes:
        peer.environment = {
            **nodes.environment(),
            "RAY_ADDRESS": f"127.0.0.1:{nodes._gcs}",
            **peer.surroundings(),
        }
        running = peer.start()
        peer.until(running, draw.randrange(3, TRIALS // 2))
        nodes.kill_worker()
        code = running.wait()
    return stack.found(peer, faults=1, note="" if code == 0 else f"it ended with {code}")


def driver_killed(stack: Stack, name: str, draw: random.Random) -> Found:
    """Row 7: kill -9 of the driver, then `Tuner.restore`, which is another program."""
    peer = stack.peer(name)
    running = peer.start()
    peer.until(running, draw.randrange(3, TRIALS // 2))
    time.sleep(draw.uniform(0, 1))
    running.kill()
    started = time.time()
    again = peer.start("--restore")
    code = again.wait()
    later = [row["at"] - started for row in peer.notes() if row["at"] > started]
    return stack.found(
        peer, faults=1, steps=1, resumed=later[:1], note="" if code == 0 else f"the restore ended with {code}"
    )


def server_killed(stack: Stack, name: str, draw: random.Random) -> Found:
    """Row 12: kill -9 of the MLflow server for 15 s; restored by hand where that ends it."""
    peer = stack.peer(name)
    with mlflow_server(stack.folder / f"{name}-server") as server:
        peer.tracking = server.address
        running = peer.start()
        peer.until(running, draw.randrange(3, TRIALS // 2))
        server.kill()
        time.sleep(15)
        server.start()
        code, steps = running.wait(3 * PATIENCE), 0
        if code or len(peer.results()) < TRIALS:
            steps = 1
            peer.start("--restore").wait()
        note = "" if code == 0 else f"it ended with {code}"
        return stack.found(peer, faults=1, steps=steps, note=note, database=server.folder / "mlflow.db")


def one_nan(stack: Stack, name: str, draw: random.Random) -> Found:
    """Row 15: one trial goes NaN."""
    rate = draw.choice(sorted(stack.quiet))
    peer = stack.peer(name, FAULTS_NAN=repr(rate))
    running = peer.start()
    code = running.wait()
    said = running.said.count("nan")
    note = f"exit {code}; 'nan' in {said} lines of its log"
    return stack.found(peer, faults=1, expected=frozenset({rate}), note=note)


Faulty = Callable[[Stack, str, random.Random], Found]
ROWS: dict[int, tuple[str, Faulty]] = {
    1: ("worker killed while it trains", killed),
    4: ("worker hangs", stopped),
    5: ("node killed", node_lost),
    7: ("driver killed", driver_killed),
    12: ("MLflow server killed for 15 s", server_killed),
    15: ("one member goes NaN", one_nan),
}


def main(words: Sequence[str] | None = None) -> int:
    """Prints the table; 0, whatever it shows."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.baseline", description=__doc__)
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(words)
    folder = options.scratch or Path(tempfile.mkdtemp(prefix="groundrules-peer-"))
    stack = Stack(folder=folder)
    quiet_run(stack)
    lines = [HEAD, RULE]
    print(f"seed {options.seed}, scratch {folder}, {TRIALS} trials\n{HEAD}\n{RULE}", flush=True)
    for number in map(int, options.rows.split(",")):
        name, run = ROWS[number]
        found, broken = [], []
        for seed in range(options.seeds):
            try:
                draw = random.Random(f"{options.seed} {number} {seed}")
                found.append(run(stack, f"row-{number}-{seed}", draw))
            except Exception as error:  # noqa: BLE001 - a stack that breaks is what this looks for
                broken.append(f"seed {seed}: {' '.join(str(error).split())[:160]}")
        lines.append(line_of(number, name, found, broken))
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    with nothing_left():
        raise SystemExit(main())
