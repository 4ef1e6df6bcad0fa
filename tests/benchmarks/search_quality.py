"""Does a search find what plain Optuna finds? Ours against a plain loop, seed by seed.

    python -m tests.benchmarks.search_quality [--seeds 10] [--trials 200] [--pruner none]

Both search the same space on the same split of digits with the same number of trials. The plain side is what
one writes without us: Optuna's TPE as it comes, one trial after the other, every trial trained to its end by
an ordinary PyTorch loop. Printed: the best validation error of each, their difference, time and updates.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from torch import nn

from search_spaces.optimizers import OPTIMIZER
from studies.ledger.ledger import Ledger
from studies.load_study import parse
from studies.run import run
from studies.search.record import search_record
from trainers.tasks import TASKS
from trainers.tasks.task import Task

SETTING = {"depth": 2, "width": 64, "steps": 300, "evaluations": 15, "train_size": 1000, "batch_size": 32}
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
INITIALIZERS = {
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "glorot_normal": nn.init.xavier_normal_,
}


def ours(seed: int, trials: int, pruner: str, sampler: str, generation: int) -> tuple[float, int]:
    """Best validation error and updates made by a search study."""
    spec = parse(
        {
            "kind": "search",
            "study": f"quality-{seed}",
            "tasks": ["digits"],
            "setting": SETTING,
            "fixed": {"schedule": "one_cycle"},
            "space": {
                "initializer": list(INITIALIZERS),
                "activation": list(ACTIVATIONS),
                "optimizer": ["nesterov", "adamw"],
                "learning_rate": None,
                "weight_decay": None,
            },
            "trials": trials,
            "sampler": sampler,
            "pruner": pruner,
            "generation": generation,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        summary = run(spec, workspace=Path(folder), engine="inline")
        assert summary.complete, summary
        with Ledger.open(Path(folder)) as ledger:
            record = search_record(ledger, spec.study)
    assert record.best is not None
    return record.best.validation_metric, sum(row.steps for row in record.evaluations)


def plain(seed: int, trials: int) -> tuple[float, int]:
    """Best validation error and updates made by Optuna's TPE around an ordinary loop."""
    task = TASKS["digits"]()
    data = arrays(task, seed)
    limits = {
        (level.name, span.name): span for level in OPTIMIZER.levels for span in level.ranges
    }  # the same as ours, read from the catalogue

    def objective(trial: optuna.Trial) -> float:
        initializer = trial.suggest_categorical("initializer", list(INITIALIZERS))
        activation = trial.suggest_categorical("activation", list(ACTIVATIONS))
        optimizer = trial.suggest_categorical("optimizer", ["nesterov", "adamw"])
        rates = limits[optimizer, "learning_rate"]
        rate = trial.suggest_float(f"{optimizer}.learning_rate", rates.low, rates.high, log=True)
        decay = 0.0
        if optimizer == "adamw":
            span = limits["adamw", "weight_decay"]
            decay = trial.suggest_float("weight_decay", span.low, span.high, log=True)
        return trained(data, initializer, activation, optimizer, rate, decay, seed=trial.number)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    return float(study.best_value), trials * SETTING["steps"]


def arrays(task: Task, seed: int) -> tuple[torch.Tensor, ...]:
    """Training and validation items of the split that our study uses, scaled by the training items."""
    split = task.split(f"quality-{seed}", 0)
    train = split.train[: SETTING["train_size"]]
    mean, sd = task.x[train].mean(axis=0), task.x[train].std(axis=0)
    x = (task.x - mean) / np.where(sd > 0, sd, 1)
    return tuple(
        torch.as_tensor(part)
        for numbers in (train, split.validation)
        for part in (x[numbers].astype(np.float32), task.y[numbers])
    )


def trained(
    data: tuple[torch.Tensor, ...],
    initializer: str,
    activation: str,
    optimizer: str,
    rate: float,
    decay: float,
    *,
    seed: int,
) -> float:
    """The best validation error over the looks at one training."""
    x, y, x_held, y_held = data
    torch.manual_seed(seed)
    width, steps, batch = SETTING["width"], SETTING["steps"], SETTING["batch_size"]
    act = ACTIVATIONS[activation]
    net = nn.Sequential(
        nn.Linear(x.shape[1], width), act(), nn.Linear(width, width), act(), nn.Linear(width, 10)
    )
    for layer in net:
        if isinstance(layer, nn.Linear):
            INITIALIZERS[initializer](layer.weight)
            nn.init.zeros_(layer.bias)
    rule: torch.optim.Optimizer
    if optimizer == "adamw":
        rule = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    else:
        rule = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(rule, max_lr=rate, total_steps=steps)
    looks = set(np.linspace(0, steps, SETTING["evaluations"] + 1)[1:].round().astype(int).tolist())
    best, order = 1.0, torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(y))
        chosen, order = order[:batch], order[batch:]
        rule.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(net(x[chosen]), y[chosen]))
        rule.step()
        if step + 1 < steps:
            schedule.step()
        if step + 1 in looks:
            with torch.no_grad():
                error = float((net(x_held).argmax(-1) != y_held).float().mean())
            best = min(best, error)
    return best


def main() -> None:
    """Runs both for every seed and prints the table."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    words.add_argument("--seeds", type=int, default=10)
    words.add_argument("--first", type=int, default=0)
    words.add_argument("--trials", type=int, default=200)
    words.add_argument("--pruner", default="successive_halving")
    words.add_argument("--sampler", default="tpe")
    words.add_argument("--generation", type=int, default=16)
    words.add_argument("--only", choices=("ours", "plain"))
    asked = words.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    how = f"sampler {asked.sampler}, pruner {asked.pruner}, generations of {asked.generation}"
    print(f"digits, {asked.trials} trials, {SETTING['steps']} steps; ours: {how}")
    print("seed   ours %  plain %  diff pp   ours s  plain s  times  ours/plain updates", flush=True)
    rows: list[Any] = []
    for seed in range(asked.first, asked.first + asked.seeds):
        sides = []
        for name in ("ours", "plain"):
            began = time.perf_counter()
            if asked.only and asked.only != name:
                found = (float("nan"), 0)
            elif name == "ours":
                found = ours(seed, asked.trials, asked.pruner, asked.sampler, asked.generation)
            else:
                found = plain(seed, asked.trials)
            sides.append((100 * found[0], time.perf_counter() - began, found[1]))
        (a, a_s, a_n), (b, b_s, b_n) = sides
        rows.append((a, b, a - b, a_s, b_s, b_s / max(a_s, 1e-9), a_n / max(b_n, 1)))
        print(f"{seed:4}" + _line(rows[-1]), flush=True)
    print("mean" + _line([statistics.fmean(column) for column in zip(*rows, strict=True)]))
    differences = [row[2] for row in rows]
    if len(rows) > 1 and not asked.only:
        spread = statistics.stdev(differences) / len(rows) ** 0.5
        mean = statistics.fmean(differences)
        print(f"mean difference {mean:+.2f} pp, standard error {spread:.2f}, n = {len(rows)} seeds")


def _line(row: Any) -> str:
    a, b, difference, a_s, b_s, times, updates = row
    return f" {a:8.2f} {b:8.2f} {difference:+8.2f} {a_s:8.1f} {b_s:8.1f} {times:6.1f} {updates:8.2f}"


if __name__ == "__main__":
    main()
