"""B3: what the control plane costs per member, with packs that train nothing.

    python -m tests.benchmarks.control_plane [--sizes 100 1000 10000 100000] [--kind guideline|search]
                                             [--engine inline|ray] [--mlflow curves|members|evidence|cells]

A study of each size is planned, searched (Optuna), packed, committed to the ledger, opened again (resume),
listed and reported by the real code; only `train_pack` is replaced, by answers that follow from the slot,
with curves and diagnostics of the usual length. `--kind search` asks TPE for so many trials of the shipped
space. A guideline study of 8 tasks has at least 1,280 members. Every size runs in two processes of its own,
one for the report, because memory is measured at its peak. CPU seconds of the driver are divided by
members: the machine's other work enters them little. What a run costs whatever its size (loading torch,
Ray, MLflow) is in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from studies.run import Engine
from studies.spec.load import read
from studies.spec.tracking_detail import DETAILS, Detail
from trainers.evaluation import CurvePoint, Evaluation
from trainers.member import Member
from trainers.randomness import stream
from trainers.tasks.task import Task

TASKS = (
    "digits", "satimage", "penbased", "magic", "texture", "spambase", "shells", "gaussians",
)  # fmt: skip
LEVELS = ("he_normal", "glorot_normal", "lecun_normal", "torch_default")
REGIMES = {"shallow": {"depth": 2}, "deep": {"depth": 8}}
RUNS = 15
"""Members per cell of the quick profile."""
LOOKS = 10
SUMMARIES, PROFILES = 23, 11
"""Recorded of a perceptron: numbers of a member, and numbers of each of its layers."""


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
    layers = range(1, member.config.setting.depth + 1)
    inside = {f"end.made_up_{i}": error for i in range(SUMMARIES)}
    inside |= {f"init.made_up_{i}.layer{layer:02d}": error for i in range(PROFILES) for layer in layers}
    return Evaluation(
        slot=slot, arm=member.arm, config=member.config, status="finished", validation_metric=error,
        validation_loss=error, best_step=steps, curve=curve, steps=steps, diagnostics=inside,
        test={"best_validation": error, "last": error} if member.reads_test else None,
    )  # fmt: skip


def search(trials: int) -> dict[str, Any]:
    """The shipped search with so many trials."""
    return {**read("search"), "study": "control-plane", "trials": trials}


def measure(
    members: int, kind: str, engine: Engine, mlflow: Detail | None, workspace: Path
) -> dict[str, float]:
    """Runs and resumes one study; seconds, and what the process peaked at."""
    import studies.run
    from studies.load_study import parse

    setattr(studies.run, "train_pack", answers)  # noqa: B010 - the one part that is replaced
    if engine == "ray":
        import studies.execution.ray_workers

        setattr(studies.execution.ray_workers, "PackTrainer", _no_op_trainer(studies.execution.ray_workers))  # noqa: B010
    tracker = None
    if mlflow:
        from studies.tracking.tracker import Tracker

        tracker = Tracker(workspace, "control-plane", detail=mlflow)
    study = parse(search(members) if kind == "search" else spec(members))
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
    found["peak_mb"] = _peak()
    found["ledger_mb"] = sum(f.stat().st_size for f in workspace.glob("ledger*")) / 1e6
    return found


def tell(workspace: Path) -> dict[str, float]:
    """Lists the workspace's studies with their standing, and writes the report; seconds, and the peak."""
    from studies.cli import invoke
    from studies.ledger.ledger import Ledger

    def listing() -> int:
        with Ledger.open(workspace) as ledger:
            rows = [(row.title, sum(ledger.chain_counts(row.name).values())) for row in ledger.studies()]
        return 0 if rows else 1

    with redirect_stdout(StringIO()):
        listed = _timed(listing)
        told = _timed(lambda: invoke(["report", "control-plane", "--workspace", str(workspace)]))
    return {"list": listed, "report": told, "report_mb": _peak()}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(call: Callable[[], int]) -> float:
    began = time.perf_counter()
    assert call() == 0
    return time.perf_counter() - began


def _no_op_trainer(workers: Any) -> Any:
    """A Tune trainable that answers at once; defined here, so that it travels by value."""

    from studies.execution.pack_payload import member_from_dict

    class NoOpTrainer(workers.PackTrainer):  # type: ignore[misc]
        def answered(self, order: str) -> str:
            members = [member_from_dict(row) for row in json.loads(order)["members"]]
            rows = [answer(member).plain() for member in members]
            return json.dumps({"evaluations": rows, "seconds": 0.0, "worker": "no-op"})

    return NoOpTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--kind", choices=("guideline", "search"), default="guideline")
    parser.add_argument("--engine", choices=("inline", "ray"), default="inline")
    parser.add_argument("--mlflow", choices=DETAILS, help="mirror the ledger into MLflow meanwhile")
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--told", metavar="FOLDER", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        size, folder = asked.one
        print(json.dumps(measure(int(size), asked.kind, asked.engine, asked.mlflow, Path(folder))))
    elif asked.told is not None:
        print(json.dumps(tell(Path(asked.told))))
    else:
        _table(asked)


def _table(asked: argparse.Namespace) -> None:
    """One line for each size."""
    print(f"{asked.kind} study, engine {asked.engine}, MLflow {asked.mlflow or 'off'}")
    columns = {"members": "members", "seconds": "wall s", "each": "CPU ms/member", "resume": "resume s",
               "peak_mb": "peak MB", "ledger_mb": "ledger MB", "list": "list s", "report": "report s",
               "report_mb": "its peak MB"}  # fmt: skip
    print("  ".join(columns.values()))
    shared = ["--kind", asked.kind, "--engine", asked.engine]
    shared += ["--mlflow", asked.mlflow] if asked.mlflow else []
    for size in asked.sizes:
        with tempfile.TemporaryDirectory() as folder:
            row = _in_a_process([*shared, "--one", str(size), folder])
            row |= _in_a_process(["--told", folder])
        row["each"] = 1e3 * row["cpu"] / row["members"]
        digits = {"members": 0, "peak_mb": 0, "report_mb": 0, "list": 3}
        print(
            "  ".join(f"{row[name]:{len(title)}.{digits.get(name, 2)}f}" for name, title in columns.items()),
            flush=True,
        )


def _in_a_process(words: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.control_plane", *words]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
