"""What members do to their packs: NaN, too large, ballast, faults that come back with the same member."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.faults.outcome import Outcome, outcome_of
from tests.faults.program import Place
from tests.faults.rows.row import Bench, Found, Row
from trainers.evaluation import Evaluation


def _victim(quiet: Outcome, draw: random.Random) -> Evaluation:
    """A designed point that was retuned and not chosen, so that nothing else hangs on it."""
    rows = list(quiet.evaluations.values())
    chosen = {
        (row.slot.task, row.config.numbers.get("learning_rate")) for row in rows if row.slot.phase != "retune"
    }
    free = [
        row
        for row in rows
        if row.slot.phase == "retune"
        and row.slot.index
        and row.status == "finished"
        and (row.slot.task, row.config.numbers["learning_rate"]) not in chosen
    ]
    return draw.choice(sorted(free, key=lambda row: row.id))


def _hit(quiet: Outcome, victim: Evaluation) -> frozenset[str]:
    """All slots that train the victim's point on its task: every level of a block shares the design."""
    rate, task = victim.config.numbers["learning_rate"], victim.slot.task
    return frozenset(
        row.id
        for row in quiet.evaluations.values()
        if row.slot.task == task and row.config.numbers.get("learning_rate") == rate
    )


def _deed(bench: Bench, name: str, draw: random.Random, what: str) -> tuple[Place, frozenset[str], Outcome]:
    """Runs the study with one point that misbehaves."""
    quiet = bench.quiet("own")
    victim = _victim(quiet, draw)
    deed = {"what": what, "task": victim.slot.task, "learning_rate": victim.config.numbers["learning_rate"]}
    place = bench.place(name, "own", FAULTS_DEED=json.dumps(deed))
    running = place.start()
    code = running.wait()
    assert code == 0, f"it ended with {code}:\n{running.said[-3000:]}"
    return place, _hit(quiet, victim), outcome_of(place.workspace, "own")


def one_nan(bench: Bench, name: str, draw: random.Random) -> Found:
    """One point goes NaN: its members diverge, the others of their packs do not notice."""
    place, hit, now = _deed(bench, name, draw, "nan")
    wrong = sum(now.evaluations[slot].status != "diverged" for slot in hit)
    return bench.found(place, "own", faults=len(hit), expected=hit, wrong=wrong)


def all_nan(bench: Bench, name: str, draw: random.Random) -> Found:
    """A task on which every member goes NaN: no endless retries, and the other tasks are what they were."""
    quiet = bench.quiet("own")
    task = draw.choice(["specks", "stripes", "rings"])
    deed = {"what": "nan", "task": task, "learning_rate": 0}
    place = bench.place(name, "own", FAULTS_DEED=json.dumps(deed))
    running = place.start()
    code = running.wait()
    now = outcome_of(place.workspace, "own")
    others = [row for row in quiet.evaluations.values() if row.slot.task != task]
    wrong = sum(now.evaluations.get(row.id) != row for row in others if row.id in now.evaluations)
    missing = sum(row.id not in now.evaluations for row in others)
    diverged = sum(row.status == "diverged" for row in now.evaluations.values() if row.slot.task == task)
    begun = sum(len(row["slots"]) for row in place.notes() if row["what"] == "begin")
    return Found(
        faults=diverged,
        lost=missing,
        doubled=0,
        wrong=wrong + int(code != 0),
        report=True,
        redone=begun / len(now.evaluations) - 1,
        note=f"{task} is left out by its pilot" if code == 0 else f"ended with {code}",
    )


def poison(bench: Bench, name: str, draw: random.Random, what: str, kind: str) -> Found:
    """One point brings its packs down: found, set aside with its cause; the study ends."""
    place, hit, now = _deed(bench, name, draw, what)
    aside = {slot for slot, row in now.evaluations.items() if row.status == "failed"}
    causes = {row.cause.partition(":")[0] for row in now.evaluations.values() if row.status == "failed"}
    page = (place.workspace / "reports" / "own" / "index.html").read_text(encoding="utf-8")
    wrong = len(aside ^ hit) + int(causes != {kind}) + int("could not be trained" not in page)
    attempts = now.attempts.get(kind, 0)
    note = f"{len(aside)} set aside after {attempts} attempts"
    return bench.found(place, "own", faults=len(hit), expected=hit, near=True, wrong=wrong, note=note)


def segfault(bench: Bench, name: str, draw: random.Random) -> Found:
    """A segmentation fault that comes back with its member."""
    return poison(bench, name, draw, "segfault", "crash")


def exception(bench: Bench, name: str, draw: random.Random) -> Found:
    """An exception that comes back with its member."""
    return poison(bench, name, draw, "exception", "error")


def device(bench: Bench, name: str, draw: random.Random) -> Found:
    """A fault of a device, after which nothing works in that process: made up, there is no GPU here."""
    return poison(bench, name, draw, "device", "error")


def too_large(bench: Bench, name: str, draw: random.Random) -> Found:
    """A device with room for some members only (made up): packs are split until they fit."""
    place, room = bench.place(name), draw.choice([3, 4, 5])
    running = place.start(deeds={"too_large": room})
    assert running.wait() == 0, running.said[-3000:]
    attempts = outcome_of(place.workspace, place.study.stem, mlflow=False).attempts
    wrong = attempts.get("error", 0) + attempts.get("crash", 0) + int(not attempts.get("split"))
    note = f"{attempts.get('split', 0)} splits, room for {room}"
    return bench.found(place, faults=attempts.get("memory", 0), near=True, wrong=wrong, note=note)


def host_memory(bench: Bench, name: str, draw: random.Random) -> Found:
    """A pack that takes more memory than Ray leaves to workers: ended by Ray, told apart, split."""
    total, free = (_memory(key) for key in ("MemTotal", "MemAvailable"))
    allowed = total - free + 3_000_000_000
    place = bench.place(
        name, RAY_memory_usage_threshold=f"{allowed / total:.3f}", RAY_memory_monitor_refresh_ms="100"
    )
    ballast = {"members": 6, "bytes": 4_000_000_000, "seconds": 8, "times": 2}
    running = place.start(deeds={"ballast": ballast})
    assert running.wait() == 0, running.said[-3000:]
    attempts = outcome_of(place.workspace, place.study.stem, mlflow=False).attempts
    wrong = attempts.get("error", 0) + attempts.get("crash", 0) + attempts.get("preempted", 0)
    hits = sum(row["what"] == "ballast" for row in place.notes())
    note = f"{attempts.get('memory', 0)} of {hits} told as memory, {attempts.get('split', 0)} splits"
    return bench.found(place, faults=hits, near=True, wrong=wrong, note=note)


def _memory(key: str) -> int:
    """Bytes, from /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    raise AssertionError(f"/proc/meminfo has no {key}")


ROWS = (
    Row(number=15, name="one member goes NaN", run=one_nan),
    Row(number=16, name="all members of a task go NaN", run=all_nan),
    Row(number=17, name="device out of memory (made up)", run=too_large),
    Row(number=18, name="host out of memory", run=host_memory),
    Row(number=19, name="device fault spoils its process (made up)", run=device),
    Row(number=29, name="exception in one cell", run=exception),
    Row(number=30, name="segmentation fault that comes back", run=segfault),
)
