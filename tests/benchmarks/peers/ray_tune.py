"""The documented stack: Ray Tune with OptunaSearch, MLflowLoggerCallback and a DataLoader per trial.

python -m tests.benchmarks.peers.ray_tune TRIALS SEED
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.peers.digits_network import (
    ACTIVATIONS,
    BATCH,
    DROPOUT_RATE,
    INITIALIZERS,
    LEARNING_RATE,
    OPTIMIZERS,
    WEIGHT_DECAY,
    Point,
    data,
    epochs,
)


def trial(config: dict[str, Any]) -> None:
    """What Tune runs in a worker: reports after every epoch."""
    from ray import tune

    torch.set_num_threads(1)
    x, y, _, _ = data()
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True, drop_last=True)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        yield from loader

    best = 1.0
    for error in epochs(Point(**config), batches):
        best = min(best, error)
        tune.report({"error": error, "best_error": best})


def search(trials: int, seed: int, folder: Path) -> tuple[float, float]:
    """The best validation error of so many trials, and the seconds from the first to the last trial."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    workers = len(os.sched_getaffinity(0))
    ray.init(
        "local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    space = {
        "initializer": tune.choice(INITIALIZERS),
        "activation": tune.choice(ACTIVATIONS),
        "optimizer": tune.choice(OPTIMIZERS),
        "learning_rate": tune.loguniform(*LEARNING_RATE),
        "weight_decay": tune.loguniform(*WEIGHT_DECAY),
        "dropout_rate": tune.uniform(*DROPOUT_RATE),
    }
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="best_error",
            mode="min",
            num_samples=trials,
            search_alg=ConcurrencyLimiter(OptunaSearch(seed=seed), max_concurrent=workers),
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="peer", save_artifact=False
                )
            ],
        ),
    )
    began = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - began
    metrics = results.get_best_result("best_error", "min").metrics
    assert metrics is not None, "every trial failed"
    ray.shutdown()
    return float(metrics["best_error"]), seconds


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        error, took = search(int(sys.argv[1]), int(sys.argv[2]), Path(place))
    print(json.dumps({"error": error, "seconds": took}))
