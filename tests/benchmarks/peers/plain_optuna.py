"""The honest strong peer: Optuna's TPE around an in-process loop, nothing else."""

from __future__ import annotations

import optuna
import torch

from tests.benchmarks.peers.digits_network import (
    ACTIVATIONS,
    DROPOUT_RATE,
    INITIALIZERS,
    LEARNING_RATE,
    OPTIMIZERS,
    WEIGHT_DECAY,
    Point,
    epochs,
    in_memory,
)


def search(trials: int, seed: int) -> float:
    """The best validation error of so many trials."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        point = Point(
            initializer=trial.suggest_categorical("initializer", INITIALIZERS),
            activation=trial.suggest_categorical("activation", ACTIVATIONS),
            optimizer=trial.suggest_categorical("optimizer", OPTIMIZERS),
            learning_rate=trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
            weight_decay=trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True),
            dropout_rate=trial.suggest_float("dropout_rate", *DROPOUT_RATE),
        )
        return min(epochs(point, in_memory))

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    return float(study.best_value)
