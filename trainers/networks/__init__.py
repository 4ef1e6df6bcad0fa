"""The networks that can be trained: each kind of `search_spaces.networks`, or a user's own module."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from search_spaces.catalog import FACTORS
from search_spaces.config import Config
from search_spaces.networks import KINDS, NETWORKS
from trainers.networks.convolutional import Convolutional
from trainers.networks.network import ForwardPass, Network, Noise, Sites
from trainers.networks.own_module import OwnModule
from trainers.networks.perceptron import Perceptron
from trainers.networks.recurrent import Recurrent
from trainers.networks.stack_network import StackNetwork
from trainers.tasks.checks import ONLY_OURS
from trainers.tasks.task import Task

__all__ = [
    "Convolutional",
    "ForwardPass",
    "Network",
    "Noise",
    "OwnModule",
    "Perceptron",
    "Recurrent",
    "Sites",
    "StackNetwork",
    "network_for",
    "network_of_rows",
    "network_of_stack",
]

BUILD: Mapping[str, Callable[[Config, tuple[int, ...], int], StackNetwork]] = {
    "mlp": lambda config, shape, n_outputs: Perceptron.of(config, math.prod(shape), n_outputs),
    "cnn": Convolutional.of,
    "rnn": Recurrent.of,
}
"""Kind of network -> (config, shape of an item, number of outputs) -> the network."""


def network_for(config: Config, task: Task) -> StackNetwork | OwnModule:
    """The network of a config on a task: the task's own, or what setting `network` says.

    Raises:
        ValueError: the task has no shape that the network can read, or a network of its own that ignores
            a factor the config varies.
    """
    if task.network is not None:
        return _own(config, task)
    kind = config.setting.network
    if task.shape is None and NETWORKS[kind].shaped_items:
        fitting = [other.name for other in KINDS if not other.shaped_items]
        raise ValueError(
            f"setting network = '{kind}' needs items with a shape, and task '{task.name}' has none "
            f"(shape = None, a table). Allowed there: {', '.join(fitting)}"
        )
    return BUILD[kind](config, task.shape or (task.n_inputs,), task.n_outputs)


def network_of_stack(configs: Sequence[Config], task: Task) -> Network:
    """The network of members of one structure, whose activations may differ.

    Raises:
        ValueError: as `network_for`.
    """
    network = network_for(configs[0], task)
    if isinstance(network, OwnModule):
        return network
    block = network.block.shared_by([c.levels["activation"] for c in configs])
    return dataclasses.replace(network, block=block)


def network_of_rows(network: Network, rows: Sequence[int]) -> Network:
    """The network of these rows of its stack alone."""
    if not isinstance(network, StackNetwork) or not network.block.activation_groups:
        return network
    return dataclasses.replace(network, block=network.block.of_rows(rows))


def _own(config: Config, task: Task) -> OwnModule:
    """A task's own network, which knows nothing of setting `network`."""
    for name in ("activation", "normalization", "dropout"):
        default = FACTORS[name].framework_default
        if name not in task.honours and config.levels[name] != default:
            raise ValueError(
                f"task '{task.name}' has a network of its own that does not honour '{name}': "
                f"only {name}={default} can be asked there, not {config.levels[name]}"
            )
    for name, level in config.levels.items():
        if f"{name}={level}" in ONLY_OURS:
            raise ValueError(
                f"task '{task.name}' has a network of its own, which {name}={level} cannot change from within"
            )
    return OwnModule.of(config, task)
