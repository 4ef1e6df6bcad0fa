"""B3: what the control plane costs per member, with packs that train nothing.

    python -m tests.benchmarks.control_plane [--sizes 100 1000 10000 100000] [--engine inline|ray] [--mlflow]

A study of each size is planned, searched (Optuna), packed, committed to the ledger and resumed by the
real code; only `train_pack` is replaced, by answers that follow from the slot. Every size runs in a
process of its own, because memory is measured at its peak. CPU seconds of the driver are divided by
members: the machine's other work enters them little.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.run import Engine
from trainers.evaluation import CurvePoint, Evaluation
from trainers.member import Member
from trainers.randomness import stream
from trainers.task import Task

TASKS = (
    "digits", "satimage", "penbased", "magic", "texture", "spambase", "shells", "gaussians",
)  # fmt: skip
LEVELS = ("he_normal", "glorot_normal", "lecun_normal", "torch_default")
REGIMES = {"shallow": {"depth": 2}, "deep": {"depth": 8}}
RUNS = 15
"""Members per cell of the quick profile."""
LOOKS = 10


def spec(members: int) -> dict[str, Any]:
    """A study file with at least so many members of the three phases."""
    cells = max(1, round(members / RUNS))
    blocks = max(1, min(1000, round(cells / (len(TASKS) * len(LEVELS) * len(REGIMES)))))
    return {
        "study": "control-plane",
        "questions": [{"factor": "initializer", "levels": list(LEVELS)}],
        "regimes": REGIMES,
        "setting": {"width": 16, "steps": 100, "evaluations": LOOKS},
        "background": {"optimizer": ["nesterov", "adamw"]},
        "tasks": list(TASKS),
        "budget": {"families": len(TASKS), "blocks": blocks},
    }


def answers(members: Sequence[Member], task: Task, **_: Any) -> list[Evaluation]:
    """What a trainer would answer, from nothing but the slots."""
    return [answer(member) for member in members]


def answer(member: Member) -> Evaluation:
    """A small error that depends on level, block and index, with a curve of the usual length."""
    slot = member.slot
    error = 0.05 + 0.02 * float(stream("noop", slot.level, slot.block, slot.index).random())
    steps = member.config.setting.steps
    curve = tuple(
        CurvePoint(
            step=steps * (i + 1) // LOOKS, train_loss=1.0 / (i + 1), validation_loss=1.1 / (i + 1),
            validation_metric=error + 0.1 / (i + 1), learning_rate=0.1,
        )
        for i in range(LOOKS)
    )  # fmt: skip
    return Evaluation(
        slot=slot, arm=member.arm, config=member.config, status="finished", validation_metric=error,
        validation_loss=error, best_step=steps, curve=curve, steps=steps,
        test={"best_validation": error, "last": error} if member.reads_test else None,
    )  # fmt: skip


def measure(members: int, engine: Engine, mlflow: bool, workspace: Path) -> dict[str, float]:
    """Runs, resumes and lists one study; seconds, and what the process peaked at."""
    import studies.run
    from studies.ledger import Ledger
    from studies.record import study_record
    from studies.spec import parse

    setattr(studies.run, "train_pack", answers)  # noqa: B010 - the one part that is replaced
    if engine == "ray":
        import studies.workers

        setattr(studies.workers, "PackTrainer", _no_op_trainer(studies.workers))  # noqa: B010
    tracker = None
    if mlflow:
        from studies.tracking import Tracker

        tracker = Tracker(workspace, "control-plane")
    study = parse(spec(members))
    watched = tracker.watch if tracker else None
    began, cpu = time.perf_counter(), time.process_time()
    done = studies.run.run(
        study,
        workspace=workspace,
        engine=engine,
        watch=watched,
        tracking=tracker,
        workers=2,
    )
    found = {"members": float(done.finished), "seconds": time.perf_counter() - began,
             "cpu": time.process_time() - cpu}  # fmt: skip
    began = time.perf_counter()
    again = studies.run.run(study, workspace=workspace, engine="inline")
    found["resume"] = time.perf_counter() - began
    assert again.trained == 0 and again.complete
    began = time.perf_counter()
    with Ledger.open(workspace) as ledger:
        found["list"] = time.perf_counter() - began + _timed(ledger.studies)
        found["record"] = _timed(lambda: study_record(ledger, study.study))
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["ledger_mb"] = sum(f.stat().st_size for f in workspace.glob("ledger*")) / 1e6
    return found


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _no_op_trainer(workers: Any) -> Any:
    """A Tune trainable that answers at once; defined here, so that it travels by value."""

    class NoOpTrainer(workers.PackTrainer):  # type: ignore[misc]
        def step(self) -> dict[str, Any]:
            order = json.loads(self._order)
            rows = [answer(workers.member_from_plain(row)).plain() for row in order["members"]]
            return {
                "answer": json.dumps({"evaluations": rows, "seconds": 0.0, "worker": "no-op"}),
                "done": True,
            }

    return NoOpTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--engine", choices=("inline", "ray"), default="inline")
    parser.add_argument("--mlflow", action="store_true", help="mirror the ledger into MLflow meanwhile")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(asked.one, asked.engine, asked.mlflow, Path(folder))))
        return
    print(f"engine {asked.engine}, MLflow {'on' if asked.mlflow else 'off'}")
    print(f"{'members':>8} {'wall s':>8} {'CPU ms/member':>14} {'resume s':>9} {'list s':>7} {'record s':>9}"
          f" {'peak MB':>8} {'ledger MB':>10}")  # fmt: skip
    for size in asked.sizes:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.control_plane",
            "--one",
            str(size),
            "--engine",
            asked.engine,
        ]
        ran = subprocess.run(
            [*command, *(["--mlflow"] if asked.mlflow else [])], check=True, stdout=subprocess.PIPE
        )
        row = json.loads(ran.stdout.splitlines()[-1])
        print(
            f"{row['members']:8.0f} {row['seconds']:8.2f} {1e3 * row['cpu'] / row['members']:14.2f}"
            f" {row['resume']:9.2f} {row['list']:7.3f} {row['record']:9.2f} {row['peak_mb']:8.0f}"
            f" {row['ledger_mb']:10.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
