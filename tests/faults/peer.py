"""The documented stack as a program to be put under faults: Ray Tune, OptunaSearch, MLflowLoggerCallback.

python -m tests.faults.peer FOLDER TRIALS MLFLOW [--restore]

Written as its manuals do it, with what they recommend against failures: retries, and `Tuner.restore` after a
driver was lost. The sampler is random and every trial seeds itself by its point, so that a run under faults
has the points and the results of a quiet one, and both can be held against each other. FAULTS_NAN (a number)
makes the trial of that point go NaN. Set to be comparable with ours: two workers, a trial of about a second.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any

SEED = 11


def trial(config: dict[str, Any]) -> None:
    """What Tune runs in a worker: a small network on digits, reported after every epoch."""
    import torch
    from ray import tune

    from tests.benchmarks.peers.digits_network import Point, epochs, in_memory

    torch.set_num_threads(1)
    torch.manual_seed(zlib.crc32(repr(config["learning_rate"]).encode()))
    _note(what="begin", rate=config["learning_rate"])
    lost = os.environ.get("FAULTS_NAN", "") == repr(config["learning_rate"])
    point = Point(activation="relu", optimizer="adam", weight_decay=1e-6, dropout_rate=0.0, **config)
    best = 1.0
    for number, error in enumerate(epochs(point, in_memory)):
        best = math.nan if lost and number > 2 else min(best, error)
        time.sleep(0.03)
        tune.report({"best_error": best})


def _note(**facts: Any) -> None:
    """One line of the journal, in one write."""
    line = json.dumps({"at": time.time(), "pid": os.getpid(), **facts}) + "\n"
    handle = os.open(os.environ["FAULTS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, line.encode())
    os.close(handle)


def main(folder: Path, trials: int, address: str, *, restore: bool) -> None:
    """Runs or restores the search; writes what came out to `results.json`."""
    import ray
    from optuna.samplers import RandomSampler
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    own = {"address": "local", "num_cpus": 2, "include_dashboard": False}  # never one that was left behind
    where: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else own
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
    place = folder / "tune" / "peer"
    if restore:
        tuner = tune.Tuner.restore(
            str(place), trainable=tune.with_resources(trial, {"cpu": 1}), resume_errored=True
        )
    else:
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space={
                "initializer": tune.choice(["he_normal", "glorot_normal"]),
                "learning_rate": tune.loguniform(1e-3, 1e-1),
            },
            tune_config=tune.TuneConfig(
                metric="best_error",
                mode="min",
                num_samples=trials,
                reuse_actors=True,
                search_alg=ConcurrencyLimiter(
                    OptunaSearch(sampler=RandomSampler(seed=SEED)), max_concurrent=2
                ),
            ),
            run_config=tune.RunConfig(
                name="peer",
                storage_path=str(folder / "tune"),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=3),
                callbacks=[
                    MLflowLoggerCallback(tracking_uri=address, experiment_name="peer", save_artifact=False)
                ],
            ),
        )
    results: Any = tuner.fit()
    rows = [
        {"rate": result.config["learning_rate"], "error": result.metrics.get("best_error")}
        for result in results
        if result.config and result.metrics and result.error is None
    ]
    (folder / "results.json").write_text(json.dumps(rows), encoding="utf-8")
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], restore="--restore" in sys.argv)
