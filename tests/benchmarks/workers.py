"""B4: what workers cost each other: packs that sleep, handed out by the real engine.

    python -m tests.benchmarks.workers [--workers 1 2 4 8] [--raylets] [--seconds 1] [--packs 10]

`run_ray` is what a study runs through: Ray Tune, one trial per pack, long-lived worker processes. Only the
trainer in the worker is replaced, by one that sleeps; nothing is computed, so that the control plane alone
can slow it down, also where there are fewer cores than workers. Efficiency is the throughput of N workers
over N times that of one. The clock starts when every worker has answered once. With --raylets every worker
has a raylet of its own, as if on a machine of its own (`ray.cluster_utils.Cluster`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import studies.execution.ray_workers
from studies.execution.local_cluster import OBJECT_STORE_BYTES, Cluster
from studies.execution.pack_payload import member_from_dict
from studies.execution.pack_trainer import PackTrainer
from studies.execution.ray_workers import run_ray
from studies.packing import Pack
from tests.benchmarks.control_plane import answer
from tests.benchmarks.pack_curve import CASES, members
from trainers.diagnostics.names import Recorded
from trainers.evaluation import Evaluation

SECONDS, MEETING = "GROUNDRULES_BENCHMARK_SLEEP", "GROUNDRULES_BENCHMARK_MEETING"
"""The environment variables that tell workers how long a pack takes, and where and how many of them meet."""
MEMBERS = 16
ATTENDANCE = "pilot"
"""The phase of each worker's first pack, which lasts until all workers have one."""


class SleepingTrainer(PackTrainer):
    """The worker's side: sleeps as long as a pack is said to take."""

    def answered(self, order: str) -> str:
        import ray  # after our own imports: they decide how

        pack = [member_from_dict(row) for row in json.loads(order)["members"]]
        if pack[0].slot.phase == ATTENDANCE:
            _meet()
        else:
            time.sleep(float(os.environ[SECONDS]))
        found = {
            "evaluations": [answer(member).plain() for member in pack],
            "seconds": 0.0,
            "worker": f"{ray.get_runtime_context().get_node_id()}:{os.getpid()}",
        }
        return json.dumps(found)


def _meet() -> None:
    """Returns when all workers have come here."""
    place, count = os.environ[MEETING].rsplit(":", 1)
    Path(place, uuid4().hex).touch()
    while len(os.listdir(place)) < int(count):
        time.sleep(0.02)


class Sleep:
    """The order of work: a first pack for every worker, then, when all have met, so many that sleep."""

    diagnostics: Recorded = "none"
    failed_packs: Sequence[Pack] = ()

    def __init__(self, workers: int, packs: int) -> None:
        self.workers: set[str] = set()
        self.work: list[str] = []
        """Who trained the packs that are counted."""
        self._expected, self._packs = workers, packs
        self._given = 0
        self._invited = 0
        self.began = self.ended = 0.0

    @property
    def done(self) -> bool:
        return len(self.work) == self._packs

    def next_pack(self) -> Pack | None:
        if self._invited < self._expected:
            self._invited += 1
            return pack(ATTENDANCE, self._invited, 1)
        if len(self.workers) < self._expected or self._given == self._packs:
            return None
        self.began = self.began or time.perf_counter()
        self._given += 1
        return pack("retune", self._given, MEMBERS)

    def prepare(self) -> None:
        """Nothing takes time here."""

    def commit(self, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str) -> None:
        self.workers.add(worker)
        if pack.phase != ATTENDANCE:
            assert len(evaluations) == MEMBERS
            self.work.append(worker)
            self.ended = time.perf_counter()

    def fail(self, pack: Pack, cause: str, *, kind: str) -> None:
        raise RuntimeError(cause)


def pack(phase: Any, number: int, count: int) -> Pack:
    """A pack of members as a study would make them."""
    rows = tuple(
        replace(row, slot=replace(row.slot, phase=phase, block=number))
        for row in members(CASES[0], count, 100)
    )
    return Pack(
        id=f"{phase}-{number}", phase=phase, factor="initializer", task="digits", regime="r", members=rows
    )


class Raylets(Cluster):
    """A raylet for every worker, each with one CPU, all on this machine."""

    def open(self) -> None:
        import ray
        from ray.cluster_utils import Cluster as Machines

        node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}
        head = {**node, "include_dashboard": False, "temp_dir": str(self.folder / "r")}
        self._machines: Any = Machines(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        for _ in range(self.workers - 1):
            self._machines.add_node(**node)
        ray.init(address=self._machines.address, namespace=uuid4().hex, log_to_driver=False, logging_level=50)

    def close(self) -> None:
        super().close()
        self._machines.shutdown()


def throughput(workers: int, packs: int, raylets: bool) -> dict[str, float]:
    """Packs per second of so many workers, and how evenly they were handed out."""
    work = Sleep(workers, packs * workers)
    cpu = time.process_time()
    kind = Raylets if raylets else Cluster
    with ExitStack() as exits:
        os.environ[MEETING] = f"{exits.enter_context(TemporaryDirectory())}:{workers}"
        exits.enter_context(patch.object(studies.execution.ray_workers, "PackTrainer", SleepingTrainer))
        cluster = exits.enter_context(kind(workers))
        began = time.perf_counter()
        run_ray(work, cluster=cluster.start())  # type: ignore[arg-type]
        whole = time.perf_counter() - began
    shares = [work.work.count(worker) for worker in sorted(work.workers)]
    assert len(shares) == workers, f"{len(shares)} worker processes served, not {workers}: one was lost"
    took = work.ended - work.began
    return {
        "rate": len(work.work) / took,
        "whole": whole,
        "least": min(shares),
        "most": max(shares),
        "cpu": 1e3 * (time.process_time() - cpu) / len(work.work),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a pack sleeps")
    parser.add_argument("--packs", type=int, default=10, help="for each worker")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--raylets", action="store_true", help="a raylet for every worker")
    asked = parser.parse_args()
    os.environ[SECONDS] = str(asked.seconds)
    where = "a raylet each" if asked.raylets else "one raylet"
    print(f"packs of {asked.seconds:g} s, {asked.packs} per worker, {where}; n = {asked.repeats}")
    print("workers  packs/s  efficiency median [range]  fewest, most per worker  s with start", flush=True)
    rates: dict[int, list[float]] = {}
    for _ in range(asked.repeats):
        for count in asked.workers:
            row = throughput(count, asked.packs, asked.raylets)
            rates.setdefault(count, []).append(row["rate"])
            _say(count, rates, asked.workers[0], row)


def _say(count: int, rates: Mapping[int, Sequence[float]], first: int, row: Mapping[str, float]) -> None:
    """One line: this count so far, against the first one in the same round."""
    pairs = zip(rates[count], rates[first], strict=False)
    found = [rate / count / (alone / first) for rate, alone in pairs]
    print(
        f"{count:7d} {row['rate']:8.2f} {statistics.median(found):12.3f} [{min(found):.3f}, {max(found):.3f}]"
        f" {row['least']:10.0f}, {row['most']:.0f} {row['whole']:16.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
