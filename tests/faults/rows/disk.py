"""What happens to the ledger's disk: full, failing, cut off in the middle of a write, flipped afterwards."""

from __future__ import annotations

import io
import random
import resource
import shutil
import sqlite3
import time
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path

from studies.cli import invoke
from studies.ledger.sqlite import FILE
from tests.faults.outcome import outcome_of
from tests.faults.program import Place, Running
from tests.faults.rows.driver import at_a_statement
from tests.faults.rows.row import Bench, Found, Row, at_work_after
from tests.faults.shim import compiler, spoiled

FLIPS = 12


def at_a_write(bench: Bench, name: str, draw: random.Random) -> Found:
    """The driver ends at the n-th write or sync of the ledger; where nothing compiles, at a statement."""
    if compiler() is None:
        return at_a_statement(bench, name, draw)
    place, faults, resumed = bench.place(name), 0, []
    for _ in range(4):
        at = draw.choice([draw.randrange(1, 40), draw.randrange(40, 400)])
        running = place.start(more=spoiled(bench.folder, "exit", at, FILE))
        code = running.wait()
        assert code in (0, 137), f"it ended with {code}:\n{running.said[-3000:]}"
        running.kill()
        if code == 0:
            break
        faults += 1
    started = time.time()
    bench.finish(place)
    if (seconds := at_work_after(place, started)) is not None:
        resumed.append(seconds)
    return bench.found(place, faults=faults, resumed=resumed)


def full(bench: Bench, name: str, draw: random.Random) -> Found:
    """The ledger's files may grow no more (RLIMIT_FSIZE): a clear stop, and it goes on when there is room."""
    place = bench.place(name)
    running = place.start()
    place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
    size = max(file.stat().st_size for file in place.workspace.glob(f"{FILE}*"))
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size + 4096, size + 4096))
    return _stopped_and_resumed(bench, running, place)


def failing(bench: Bench, name: str, draw: random.Random) -> Found:
    """From the n-th write on the disk answers EIO: a clear stop, and it goes on when the disk is back."""
    place = bench.place(name)
    running = place.start(more=spoiled(bench.folder, "eio", draw.randrange(20, 300), FILE))
    return _stopped_and_resumed(bench, running, place)


def _stopped_and_resumed(bench: Bench, running: Running, place: Place) -> Found:
    code, said = running.wait(), running.said
    running.kill()
    clear = code in (0, 1, 2) and "Traceback" not in said
    with closing(sqlite3.connect(place.workspace / FILE)) as db:
        whole = db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    started = time.time()
    bench.finish(place)
    seconds = at_work_after(place, started)
    last = next((line for line in reversed(said.splitlines()) if "rror" in line), "")
    return bench.found(
        place,
        faults=int(code != 0),
        resumed=[] if seconds is None else [seconds],
        wrong=int(not clear) + int(not whole),
        note=f"exit {code}: {last[:90]}",
    )


def flipped(bench: Bench, name: str, draw: random.Random) -> Found:
    """Digits of results are changed in the finished ledger: a report must refuse, or not be changed by it."""
    place = bench.place(name)
    bench.finish(place)
    study, undetected = place.study.stem, 0
    quiet = outcome_of(place.workspace, study, mlflow=False).report
    for number in range(FLIPS):
        copy = place.folder / f"copy-{number}"
        shutil.copytree(place.workspace, copy)
        with closing(sqlite3.connect(copy / FILE)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _flip(copy / FILE, draw)
        code = _report(copy, study)
        if code == 0 and outcome_of(copy, study, mlflow=False).report != quiet:
            undetected += 1
        shutil.rmtree(copy)
    return bench.found(place, faults=FLIPS, wrong=undetected, note=f"{undetected} of {FLIPS} flips unnoticed")


def _flip(file: Path, draw: random.Random) -> None:
    """Changes a digit of some validation metric, or any byte."""
    data = bytearray(file.read_bytes())
    key = b'"validation_metric":0.'
    places = [i for i in range(len(data)) if data[i : i + 1] == b'"' and data[i : i + len(key)] == key]
    if places and draw.random() < 0.7:
        at = draw.choice(places) + len(key)
        data[at] = ord(str((int(chr(data[at])) + 1) % 10))
    else:
        data[draw.randrange(4096, len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def _report(workspace: Path, study: str) -> int:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return invoke(["report", study, "--workspace", str(workspace)])


ROWS = (
    Row(number=8, name="driver ends at a write of the ledger", run=at_a_write),
    Row(number=20, name="disk full", run=full),
    Row(number=21, name="disk fails (EIO)", run=failing, needs="compiler"),
    Row(number=23, name="results in the ledger changed", run=flipped),
)
