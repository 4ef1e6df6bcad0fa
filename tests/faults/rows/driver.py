"""What happens to the driver: killed at any moment and at every statement, started twice, interrupted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

from tests.faults.rows.row import Bench, Found, Row, at_work_after

KILLS = 2


def killed(bench: Bench, name: str, draw: random.Random) -> Found:
    """kill -9 of the driver and all its processes at random moments, then the same command."""
    return _killed(bench, name, draw, "guideline")


def search_killed(bench: Bench, name: str, draw: random.Random) -> Found:
    """The same in an adaptive search: Optuna's studies live in memory only, and are told again."""
    return _killed(bench, name, draw, "search")


def _killed(bench: Bench, name: str, draw: random.Random, kind: str) -> Found:
    place, total = bench.place(name, kind), bench.packs(kind)
    faults, resumed = 0, []
    for _ in range(KILLS):
        begun, started = place.begun(), time.time()
        running = place.start()
        place.until(running, begun + draw.randrange(1, max(2, total // 2)))
        time.sleep(draw.uniform(0, 0.5))
        if faults and (seconds := at_work_after(place, started)) is not None:
            resumed.append(seconds)
        if running.over:
            break
        running.kill()
        faults += 1
    started = time.time()
    bench.finish(place)
    if (seconds := at_work_after(place, started)) is not None:
        resumed.append(seconds)
    return bench.found(place, kind, faults=faults, resumed=resumed)


def at_a_statement(bench: Bench, name: str, draw: random.Random) -> Found:
    """The driver ends at the n-th statement to its ledger, before or after it was carried out."""
    place, faults, resumed = bench.place(name), 0, []
    for _ in range(4):
        at = draw.choice([draw.randrange(1, 30), draw.randrange(30, 400)])
        running = place.start(deeds={"statement": {"at": at, "before": draw.random() < 0.5}})
        code = running.wait()
        assert code in (0, 137), f"it ended with {code}:\n{running.said[-3000:]}"
        running.kill()
        faults += code == 137
        if code == 0:
            break
    started = time.time()
    bench.finish(place)
    if (seconds := at_work_after(place, started)) is not None:
        resumed.append(seconds)
    return bench.found(place, faults=faults, resumed=resumed)


def twice(bench: Bench, name: str, draw: random.Random) -> Found:
    """A second driver is refused while the first lives, and takes over when it is dead."""
    place = bench.place(name)
    first = place.start()
    place.until(first, draw.randrange(2, max(3, bench.packs() // 2)))
    second = place.start()
    code, said = second.wait(), second.said
    refused = code == 2 and "is in use by another run" in said
    first.kill()
    started = time.time()
    bench.finish(place)
    seconds = at_work_after(place, started)
    return bench.found(
        place,
        faults=2,
        resumed=[] if seconds is None else [seconds],
        wrong=int(not refused),
        note="" if refused else f"the second driver ended with {code}",
    )


def interrupted(bench: Bench, name: str, draw: random.Random) -> Found:
    """Ctrl-C once, then the same command; Ctrl-C twice, then the same command."""
    place, total, codes = bench.place(name), bench.packs(), []
    for times in (1, 2):
        running = place.start()
        place.until(running, place.begun() + draw.randrange(1, max(2, total // 3)))
        for _ in range(times):
            if not running.over:
                os.killpg(running.process.pid, signal.SIGINT)
                time.sleep(0.3)
        codes.append(running.wait(60))
        running.kill()
    bench.finish(place)
    right = codes[0] == 130 and codes[1] in (130, -signal.SIGINT)
    return bench.found(place, faults=3, note=f"exit codes {codes}", wrong=int(not right))


def other_values(bench: Bench, name: str, draw: random.Random) -> Found:
    """The study file is changed between run and resume: refused with what changed; back again, it ends."""
    place = bench.place(name)
    running = place.start()
    place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
    running.kill()
    kept = place.folder / "kept.yaml"
    shutil.copy(place.study, kept)
    text = kept.read_text(encoding="utf-8")
    place.study.write_text(text.replace('"steps": 150', '"steps": 160'), encoding="utf-8")
    changed = place.start()
    code, said = changed.wait(), changed.said
    refused = code == 2 and "setting.steps (150 -> 160)" in said
    shutil.copy(kept, place.study)
    bench.finish(place)
    return bench.found(place, faults=2, wrong=int(not refused), note="" if refused else f"ended with {code}")


def other_version(bench: Bench, name: str, draw: random.Random) -> Found:
    """Resumed with another version of torch: refused, or every row says which it is from."""
    place = bench.place(name)
    running = place.start()
    place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
    running.kill()
    skewed = place.start(deeds={"torch": "9.9.9"})
    code, said = skewed.wait(), skewed.said
    refused = code == 2 and "9.9.9" in said
    bench.finish(place)
    return bench.found(place, faults=2, wrong=int(not refused), note="" if refused else f"ended with {code}")


ROWS = (
    Row(number=7, name="driver killed", run=killed),
    Row(number=9, name="a second driver", run=twice),
    Row(number=10, name="search killed: Optuna's state is gone", run=search_killed),
    Row(number=28, name="Ctrl-C once and twice", run=interrupted),
    Row(number=32, name="study file changed before the resume", run=other_values),
    Row(number=33, name="resumed with another version", run=other_version),
)
