"""Random faults for so long: `python -m tests.faults.soak --minutes 60 --seed S`.

One study after another is run under faults drawn at random and resumed until it is complete, then held
against the quiet run of the same study. The last line says how it went. Stopped and started again with the
same scratch folder and seed, it goes on with the next study.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from studies.ledger.sqlite import FILE
from tests.faults.outcome import Outcome, compared, outcome_of
from tests.faults.program import PATIENCE, Place, Running, code, nothing_left
from tests.faults.rows.row import at_work_after, at_work_again
from tests.faults.shim import compiler, spoiled
from tests.faults.studies_under_test import guideline, written

STOPS = 20
"""So many in one study are not the faults' doing."""
LEASE = 20.0
"""Seconds after which a stopped worker is believed to hang."""
BETWEEN = (2.0, 20.0)
"""Seconds from one fault to the next."""


@dataclass(kw_only=True)
class Round:
    """One study under faults."""

    place: Place
    draw: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    resumed: list[float] = field(default_factory=list)
    stops: int = 0
    """Times the program ended with an error; the same command again is what it asks for."""
    started: float = 0.0
    """When the driver was last started after a fault had ended it; 0: it was not."""

    def run(self) -> None:
        """Until the study is complete."""
        ended = -1
        while ended != 0:
            spoil = {}
            if compiler() is not None and self.draw.random() < 0.15:
                spoil = spoiled(self.place.folder, "exit", self.draw.randrange(20, 2000), FILE)
            began = time.time()
            running = self.place.start(more=spoil)
            ended = self._through(running, spoiled=bool(spoil))
            seconds = at_work_after(self.place, began)
            if self.started and seconds is not None:
                self.resumed.append(seconds)
            running.kill()
            self.started = time.time()

    def _through(self, running: Running, *, spoiled: bool) -> int:
        """One call of the program, with faults until it ends; its exit code."""
        until = time.monotonic() + 20 * PATIENCE
        while not running.over:
            time.sleep(self.draw.uniform(*BETWEEN))
            if not running.over:
                self._fault(running)
            assert time.monotonic() < until, f"no end:\n{running.said[-3000:]}"
        code = running.wait()
        self.faults["driver ended at a write"] += spoiled and code == 137
        if code not in (0, 130, 137, -signal.SIGKILL, -signal.SIGINT):
            self.stops += 1
            said = running.said.splitlines()[-1:]
            print(f"  the program stopped by itself with {code}: {said}", flush=True)
            assert self.stops < STOPS, running.said[-3000:]
        return code

    def _fault(self, running: Running) -> None:
        name = self.draw.choice(list(FAULTS))
        before = len(self.place.notes())
        if before and FAULTS[name](self, running):
            self.faults[name] += 1

    def worker(self, running: Running, how: signal.Signals) -> bool:
        """A signal to a random worker."""
        workers = running.workers()
        if not workers:
            return False
        pid, when = self.draw.choice(workers), time.time()
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        time.sleep(LEASE + 8 if how is signal.SIGSTOP else 6)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        if (seconds := at_work_again(self.place, pid, when)) is not None and how is not signal.SIGSTOP:
            self.resumed.append(seconds)
        return True

    def ray(self, running: Running, name: str) -> bool:
        """kill -9 of one of Ray's own processes."""
        pids, when = running.ray(name), time.time()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(10)
        if pids and (seconds := at_work_after(self.place, when + 1)) is not None:
            self.resumed.append(seconds)
        return bool(pids)

    def driver(self, running: Running, how: signal.Signals) -> bool:
        """A signal to the driver; kill -9 takes all of its processes with it."""
        if how is signal.SIGKILL:
            running.kill()
        else:
            os.killpg(running.process.pid, how)
        return True

    def lock(self, running: Running, file: str) -> bool:
        """Another connection holds a database for a while."""
        if not (self.place.workspace / file).is_file():
            return False
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(self.place.workspace / file, timeout=20, isolation_level=None)) as db,
        ):
            db.execute("BEGIN EXCLUSIVE")
            time.sleep(self.draw.uniform(2, 10))
            db.execute("ROLLBACK")
        return True


FAULTS: dict[str, Callable[[Round, Running], bool]] = {
    "worker killed": lambda one, running: one.worker(running, signal.SIGKILL),
    "worker told to go": lambda one, running: one.worker(running, signal.SIGTERM),
    "worker stopped": lambda one, running: one.worker(running, signal.SIGSTOP),
    "driver killed": lambda one, running: one.driver(running, signal.SIGKILL),
    "driver interrupted": lambda one, running: one.driver(running, signal.SIGINT),
    "Ray's head killed": lambda one, running: one.ray(running, "gcs_server"),
    "raylet killed": lambda one, running: one.ray(running, "raylet"),
    "ledger locked": lambda one, running: one.lock(running, FILE),
    "MLflow's database locked": lambda one, running: one.lock(running, "mlflow.db"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Rounds until the time is up, at least until the members are reached; 0 if nothing differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--members", type=int, default=1000, help="of one study, at least (1000)")
    parser.add_argument("--least", type=int, default=3000, help="members in all (3000)")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "groundrules-soak")
    options = parser.parse_args(words)
    until = time.monotonic() + 60 * options.minutes
    print(f"seed {options.seed}, scratch {options.scratch}", flush=True)
    quiet = _quiet(options.scratch, options.members)
    faults: Counter[str] = Counter()
    lost = doubled = changed = members = begun = number = 0
    resumed: list[float] = []
    while time.monotonic() < until or members < options.least:
        number += 1
        kept = options.scratch / f"round-{options.seed}-{number}-members-{options.members}-{code()}.json"
        if not kept.is_file():
            kept.write_text(json.dumps(_round(options, number, quiet)), encoding="utf-8")
        row = json.loads(kept.read_text(encoding="utf-8"))
        faults.update(row["faults"])
        lost, doubled = lost + row["lost"], doubled + row["doubled"]
        changed += row["wrong"] + (not row["report"])
        members, begun = members + row["members"], begun + row["begun"]
        resumed += row["resumed"]
        print(f"study {number}: {json.dumps({k: v for k, v in row.items() if k != 'resumed'})}", flush=True)
    wait = f"{statistics.median(resumed):.1f}" if resumed else "-"
    print(
        f"{faults.total()} faults injected over {members} members: {lost} lost, {doubled} counted twice, "
        f"{changed} verdicts changed, median resume {wait} s, {100 * (begun / members - 1):.0f} % work redone"
    )
    return int(bool(lost or doubled or changed))


def _quiet(scratch: Path, members: int) -> Outcome:
    """The same study undisturbed; kept in the scratch folder."""
    folder = scratch / f"quiet-{members}-{code()}"
    place = Place(folder=folder, study=written(guideline(members), folder))
    ended = place.start().wait(20 * PATIENCE)
    assert ended == 0, f"the quiet run ended with {ended}"
    return outcome_of(place.workspace, place.study.stem)


def _round(options: argparse.Namespace, number: int, quiet: Outcome) -> dict[str, object]:
    folder = options.scratch / f"round-{options.seed}-{number}"
    place = Place(
        folder=folder,
        study=written(guideline(options.members), folder),
        environment={"GROUNDRULES_LEASE_SECONDS": str(LEASE)},
    )
    one = Round(place=place, draw=random.Random(f"{options.seed} {number}"))
    one.run()
    now = outcome_of(place.workspace, place.study.stem)
    how = compared(now, quiet)
    return {
        "faults": one.faults,
        "lost": how.lost,
        "doubled": how.doubled,
        "wrong": how.wrong,
        "report": how.same_report,
        "members": len(now.evaluations),
        "begun": sum(len(row["slots"]) for row in place.notes() if row["what"] == "begin"),
        "attempts": dict(now.attempts),
        "stops": one.stops,
        "resumed": one.resumed,
    }


if __name__ == "__main__":
    with nothing_left():
        raise SystemExit(main())
