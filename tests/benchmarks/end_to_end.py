"""B2: trials per second of a search study, from command to report, beside what one would write instead.

    python -m tests.benchmarks.end_to_end [--trials 400] [--peer-trials 40] [--seeds 5] [--generation 50]
                                          [--pruner none] [--workers 2] [--only ours|optuna|tune]

ours    `groundrules run` of a `kind: search` study in a new workspace: Ray workers, ledger, MLflow at the
        default detail, report
optuna  `peers/plain_optuna.py`: Optuna's TPE around an in-process loop, one thread, nothing is logged
tune    `peers/ray_tune.py`: Ray Tune, OptunaSearch, MLflow's callback, a DataLoader per trial

All search the same space on the same split of digits with the same network, batch and epochs. Each runs in a
process of its own. Two rates are printed of each: over the whole command, and from the first training to the
last result (of ours: from when the first pack was handed out, as the ledger's times tell). Ratios are paired
by seed. The rates of peers do not hang on the number of trials but through Optuna's own cost, which grows
with it; so they may be measured on fewer trials. Best errors compare only where the trials are equally many.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.peers.digits_network import (
    ACTIVATIONS,
    BATCH,
    DROPOUT_RATE,
    EPOCHS,
    INITIALIZERS,
    LEARNING_RATE,
    OPTIMIZERS,
    STUDY,
    WEIGHT_DECAY,
    WIDTH,
)

STEPS_AN_EPOCH = 16
TRAIN_SIZE = 1079

OPTUNA = """
import json, sys, time
import torch, optuna
from tests.benchmarks.peers.digits_network import data
from tests.benchmarks.peers.plain_optuna import search
data()
began = time.perf_counter()
error = search(int(sys.argv[1]), int(sys.argv[2]))
print(json.dumps({"error": error, "seconds": time.perf_counter() - began}))
"""


def study(seed: int, trials: int, generation: int, pruner: str) -> dict[str, Any]:
    """The study file; its name is its seed."""
    return {
        "kind": "search",
        "study": f"end-to-end-{seed}",
        "tasks": ["digits"],
        "setting": {"depth": 2, "width": WIDTH, "steps": EPOCHS * STEPS_AN_EPOCH, "evaluations": EPOCHS,
                    "train_size": TRAIN_SIZE, "batch_size": BATCH},
        "fixed": {"weight_decay": "l2", "dropout": "dropout"},
        "space": {
            "initializer": list(INITIALIZERS),
            "activation": list(ACTIVATIONS),
            "optimizer": list(OPTIMIZERS),
            "learning_rate": _limits(LEARNING_RATE),
            "weight_decay": _limits(WEIGHT_DECAY),
            "dropout_rate": _limits(DROPOUT_RATE),
        },
        "trials": trials,
        "generation": generation,
        "pruner": pruner,
        "diagnostics": "none",  # the peers look into no network either
    }  # fmt: skip


def _limits(span: tuple[float, float]) -> dict[str, float]:
    return dict(zip(("low", "high"), span, strict=True))


def run_command(file: Path, workspace: Path) -> list[str]:
    """`groundrules run` of that file, by this Python."""
    return [sys.executable, "-m", "studies.cli", "run", str(file), "--workspace", str(workspace)]


def ours(seed: int, asked: argparse.Namespace) -> dict[str, float]:
    """One search as a user runs it."""
    from studies.ledger.ledger import Ledger

    with tempfile.TemporaryDirectory() as folder:
        file, workspace = Path(folder) / "study.yaml", Path(folder) / "workspace"
        file.write_text(yaml.safe_dump(study(seed, asked.trials, asked.generation, asked.pruner)))
        command = [*run_command(file, workspace), "--json"]
        began = time.perf_counter()
        said = _said([*command, "--workers", str(asked.workers)], dict(os.environ))
        whole = time.perf_counter() - began
        told = json.loads(said)
        assert told["complete"], told
        with Ledger.open(workspace) as ledger:
            name = told["study"]
            packs = [a for a in ledger.attempts(name) if a.kind == "committed"]
            best = min(e.validation_metric for e in ledger.evaluations(name))
            workers = {a.worker for a in packs}
    first = min(a.at_ms / 1000 - a.seconds for a in packs)
    last = max(a.at_ms / 1000 for a in packs)
    return {
        "trials": asked.trials, "error": best, "whole": whole, "training": last - first,
        "busy": sum(a.seconds for a in packs) / (last - first) / asked.workers,
        "packs": len(packs), "processes": len(workers),
    }  # fmt: skip


def peer(command: Sequence[str], trials: int, seed: int) -> dict[str, float]:
    """One search of a peer on our split: what it says, and how long its process lived."""
    place = {**os.environ, STUDY: study(seed, trials, 1, "none")["study"]}
    began = time.perf_counter()
    said = _said([sys.executable, *command], place)
    found = json.loads(said.splitlines()[-1])
    return {
        "trials": trials, "error": found["error"], "whole": time.perf_counter() - began,
        "training": found["seconds"],
    }  # fmt: skip


def _said(command: Sequence[str], place: Mapping[str, str]) -> str:
    """What a command prints; its complaints are shown if it fails."""
    ran = subprocess.run(command, env=dict(place), capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command[:4])} ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
    return ran.stdout


def _told(name: str, row: dict[str, float]) -> str:
    text = (
        f"{name:7} {row['trials']:6.0f} trials  {row['trials'] / row['training']:7.2f}/s in training "
        f"({row['training']:.1f} s)  {row['trials'] / row['whole']:7.2f}/s in all ({row['whole']:.1f} s)  "
        f"best {100 * row['error']:.2f} %"
    )
    if "busy" in row:
        text += (
            f"  {row['packs']:.0f} packs, {row['processes']:.0f} processes, busy {100 * row['busy']:.0f} %"
        )
    return text


def _ratios(name: str, key: str, mine: Sequence[dict[str, float]], others: Sequence[dict[str, float]]) -> str:
    found = [a["trials"] / a[key] * b[key] / b["trials"] for a, b in zip(mine, others, strict=True)]
    return (
        f"times the rate of {name:6}, {key:8}: median {statistics.median(found):6.2f}, "
        f"range {min(found):.2f} to {max(found):.2f} (n = {len(found)} seeds)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--peer-trials", type=int, help="of Ray Tune; default: --trials")
    parser.add_argument("--optuna-trials", type=int, help="of plain Optuna; default: --trials")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--generation", type=int, default=50)
    parser.add_argument("--pruner", default="none", choices=("none", "successive_halving"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--only", nargs="+", choices=("ours", "optuna", "tune"), default=["ours", "optuna", "tune"]
    )
    asked = parser.parse_args()
    few, some = asked.peer_trials or asked.trials, asked.optuna_trials or asked.trials
    print(
        f"ours: {asked.workers} workers, generations of {asked.generation}, pruner {asked.pruner}", flush=True
    )
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in asked.only}
    for seed in range(asked.first, asked.first + asked.seeds):
        sides = {
            "ours": lambda seed=seed: ours(seed, asked),
            "optuna": lambda seed=seed: peer(["-c", OPTUNA, str(some), str(seed)], some, seed),
            "tune": lambda seed=seed: peer(
                ["-m", "tests.benchmarks.peers.ray_tune", str(few), str(seed)], few, seed
            ),
        }
        # Who goes first changes, so that nobody gains from what a busy machine does over time.
        for name in asked.only[seed % len(asked.only) :] + asked.only[: seed % len(asked.only)]:
            rows[name].append(sides[name]())
            print(f"seed {seed}  {_told(name, rows[name][-1])}", flush=True)
    for name in asked.only:
        if name != "ours" and "ours" in rows:
            print(_ratios(name, "training", rows["ours"], rows[name]))
            print(_ratios(name, "whole", rows["ours"], rows[name]))
            if rows[name][0]["trials"] == asked.trials:
                gaps = [
                    100 * (a["error"] - b["error"]) for a, b in zip(rows["ours"], rows[name], strict=True)
                ]
                print(f"best error, ours - {name}: median {statistics.median(gaps):+.2f} points, "
                      f"range {min(gaps):+.2f} to {max(gaps):+.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
