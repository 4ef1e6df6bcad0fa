"""The networks that can be trained: a multilayer perceptron in a stack, or a user's own module."""

from __future__ import annotations

from search_spaces.catalog import FACTORS
from search_spaces.config import Config
from trainers.networks.network import Network, Pass
from trainers.networks.own_module import OwnModule
from trainers.networks.perceptron import Perceptron
from trainers.task import Task

__all__ = ["Network", "OwnModule", "Pass", "Perceptron", "network_for"]


def network_for(config: Config, task: Task) -> Network:
    """The network of a config on a task.

    Raises:
        ValueError: the task has a network of its own that ignores a factor the config varies.
    """
    if task.network is None:
        return Perceptron.of(config, task.n_inputs, task.n_outputs)
    for name in ("activation", "normalization", "dropout"):
        default = FACTORS[name].framework_default
        if name not in task.honours and config.levels[name] != default:
            raise ValueError(
                f"task '{task.name}' has a network of its own that does not honour '{name}': "
                f"only {name}={default} can be asked there, not {config.levels[name]}"
            )
    return OwnModule.of(config, task)
