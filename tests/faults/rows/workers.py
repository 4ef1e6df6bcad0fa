"""What happens to workers: killed, stopped, told to go, between training and answering, over a bad wire."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import suppress

from tests.faults.program import Place, Running
from tests.faults.rows.row import Bench, Found, Row, at_work_again
from tests.rehearsal.ray_nodes import ray_nodes

KILLS = 3


def killed(bench: Bench, name: str, draw: random.Random) -> Found:
    """kill -9 of random workers at random moments."""
    place = bench.place(name)
    return _hit(bench, place, draw, [signal.SIGKILL])


def noticed(bench: Bench, name: str, draw: random.Random) -> Found:
    """A preemption notice: SIGTERM, and kill -9 a second later (where 30 s are usual)."""
    place = bench.place(name)
    return _hit(bench, place, draw, [signal.SIGTERM, signal.SIGKILL])


def _hit(bench: Bench, place: Place, draw: random.Random, signals: list[signal.Signals]) -> Found:
    total = bench.packs()
    running = place.start()
    hits: list[tuple[int, float]] = []
    moments = sorted(draw.sample(range(1, max(KILLS + 2, int(0.8 * total))), KILLS))
    for moment in moments:
        if not place.until(running, moment):
            break
        time.sleep(draw.uniform(0, 0.3))
        workers = running.workers()
        if not workers:
            continue
        pid = draw.choice(workers)
        hits.append((pid, time.time()))
        for number, one in enumerate(signals):
            time.sleep(min(number, 1))
            with suppress(ProcessLookupError):
                os.kill(pid, one)
    assert running.wait() == 0, running.said[-3000:]
    again = [at_work_again(place, pid, when) for pid, when in hits]
    return bench.found(place, faults=len(hits), resumed=[seconds for seconds in again if seconds is not None])


def before_the_answer(bench: Bench, name: str, draw: random.Random) -> Found:
    """A worker is gone after it has trained, before anybody knows."""
    place = bench.place(name)
    running = place.start(deeds={"no_ack": 2})
    assert running.wait() == 0, running.said[-3000:]
    gone = [row for row in place.notes() if row["what"] == "no_ack"]
    again = [_begun_again(place, row["slots"], row["at"]) for row in gone]
    return bench.found(place, faults=len(gone), resumed=[s for s in again if s is not None])


def _begun_again(place: Place, slots: list[str], when: float) -> float | None:
    later = [row["at"] for row in place.notes() if row["what"] == "begin" and row["slots"] == slots]
    return next((at - when for at in later if at > when), None)


def stopped(bench: Bench, name: str, draw: random.Random) -> Found:
    """SIGSTOP of a worker; with a lease of 6 s its pack goes to another, and SIGCONT comes too late."""
    place = bench.place(name, GROUNDRULES_LEASE_SECONDS="6")
    running = place.start()
    place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
    time.sleep(draw.uniform(0, 0.3))
    pid, when = draw.choice(running.workers() or [0]), time.time()
    if pid:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(12)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert running.wait() == 0, running.said[-3000:]
    seconds = at_work_again(place, pid, when)
    return bench.found(place, faults=int(bool(pid)), resumed=[] if seconds is None else [seconds])


def cluster_dies(bench: Bench, name: str, draw: random.Random) -> Found:
    """kill -9 of the process that holds the embedded cluster together."""
    return _ray_process(bench, name, draw, "gcs_server")


def _ray_process(bench: Bench, name: str, draw: random.Random, what: str) -> Found:
    place = bench.place(name)
    running = place.start()
    place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
    time.sleep(draw.uniform(0, 0.3))
    pids, when = running.ray(what), time.time()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    code = running.wait()
    resumed = _later(place, running, when)
    steps = 0 if code == 0 else 1
    if code:
        bench.finish(place)
    found = bench.found(
        place, faults=len(pids), resumed=resumed, note="" if code == 0 else f"ended with {code}"
    )
    return found if not steps else Found(**{**vars(found), "steps": steps})


def _later(place: Place, running: Running, when: float) -> list[float]:
    """Seconds from a fault to the first pack of a worker that was not there before."""
    before = {row["pid"] for row in place.notes() if row["at"] <= when}
    again = [row["at"] - when for row in place.notes() if row["what"] == "begin" and row["pid"] not in before]
    return [min(again)] if again else []


def node_lost(bench: Bench, name: str, draw: random.Random) -> Found:
    """kill -9 of one of two raylets with all that runs on it; the study goes on with the other."""
    place = bench.place(name)
    place.options = ("--cluster", "auto", "--workers", "2")
    place.folder.mkdir(parents=True, exist_ok=True)
    with ray_nodes(place.folder, workers=2, cpus=1, head_cpus=0, environment=place.inside()) as nodes:
        address = {"RAY_ADDRESS": f"127.0.0.1:{nodes._gcs}"}
        running = place.start(more={**nodes.environment(), **address, **place.inside()})
        place.until(running, draw.randrange(2, max(3, bench.packs() // 2)))
        while len(_at_work(place)) < 2 and not running.over:  # so that the node that dies has a pack in hand
            time.sleep(0.01)
        hit, when = _at_work(place), time.time()
        nodes.kill_worker()
        assert running.wait() == 0, running.said[-3000:]
    after = {row["pid"] for row in place.notes() if row["at"] > when + 0.5}
    again = [at_work_again(place, pid, when) for pid in hit - after]
    return bench.found(place, faults=1, resumed=[seconds for seconds in again if seconds is not None])


def _at_work(place: Place) -> set[int]:
    """Workers that have begun a pack and not ended it."""
    last = {row["pid"]: row["what"] for row in place.notes()}
    return {pid for pid, what in last.items() if what == "begin"}


def bad_wire(bench: Bench, name: str, draw: random.Random) -> Found:
    """Ray's own calls are delayed, and some fail, as its tests do it."""
    delays = "NodeManagerService.grpc_server.RequestWorkerLease=1000:50000"
    shares = {f"{when}_failure_prob": 25 for when in ("req", "resp", "in_flight")}
    failures = {"ray::rpc::InternalKVGcsService.grpc_client.InternalKVGet": {"num_failures": 3, **shares}}
    place = bench.place(name, RAY_testing_asio_delay_us=delays, RAY_testing_rpc_failure=json.dumps(failures))
    running = place.start()
    assert running.wait() == 0, running.said[-3000:]
    return bench.found(place, faults=3)


ROWS = (
    Row(number=1, name="worker killed while it trains", run=killed),
    Row(number=2, name="worker killed between trained and answered", run=before_the_answer),
    Row(number=4, name="worker hangs, and wakes too late", run=stopped),
    Row(number=5, name="node killed", run=node_lost),
    Row(number=6, name="Ray's head (GCS) killed", run=cluster_dies),
    Row(number=26, name="Ray's calls delayed and lost", run=bad_wire),
    Row(number=27, name="preemption notice", run=noticed),
)
