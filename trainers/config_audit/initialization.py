"""Initial weights and biases of a built network: their root mean squares against those of the levels.

Shape letters: K members.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from search_spaces.activation_gains import activation_gain
from search_spaces.activations import ACTIVATION
from search_spaces.bias import BIAS
from search_spaces.config import Config
from search_spaces.initializers import INITIALIZER
from trainers.config_audit.reading import AuditedProperty, BuiltPack
from trainers.networks.stack_network import StackNetwork

FEW = 8
"""Fewest elements of an initial weight or bias whose root mean square is compared."""


def start_readings(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Root mean squares of initial weights and biases.

    They are compared with those of a fresh draw of the same shape; the ratio of n elements varies by about
    1 / sqrt(n). Of fewer than eight elements only whether they are zero is compared.
    """
    network, configs = built.network, built.configs
    layout = network.parameters
    views = layout.views(built.params_KP)
    gated = ACTIVATION.level(configs[0].levels["activation"]).build.gated
    assert isinstance(network, StackNetwork)
    maps = {one.name: (one, layer) for layer in network.layers for one in layer.maps}
    last = network.layers[-1]
    for segment in layout.segments:
        if segment.role not in ("weight", "bias"):
            continue
        name = segment.name.replace("bias", "weight")
        fan_in, sums = views[name].shape[1:]
        one, layer = maps[name]
        sides = 2 if gated and layer is not last else 1
        columns = int(sums) // sides
        measured = views[segment.name].double().square().flatten(1).mean(1).sqrt().tolist()
        shape = (int(fan_in), columns * layer.taps, columns, sides)
        expected = [_law(c, segment.role, *shape, reads_inputs=one.reads_items) for c in configs]
        if segment.role == "bias":
            nothing = [[size == 0.0 for size in sizes] for sizes in (expected, measured)]
            yield AuditedProperty(key=f"{segment.name}.zero", expected=nothing[0], measured=nothing[1])
        if segment.size >= FEW:
            rtol = min(0.95, 5 / math.sqrt(segment.size))
            yield AuditedProperty(
                key=f"initializer.{segment.name}", expected=expected, measured=measured, rtol=rtol
            )


def _law(
    config: Config, role: str, fan_in: int, fan_out: int, columns: int, maps: int, *, reads_inputs: bool
) -> float:
    """Root mean square of one map's weights or biases under the config's levels."""
    level, bias = config.levels["initializer"], config.levels["bias"]
    if role == "bias":
        return _size(level, bias, fan_in, fan_out, columns, maps)[1]
    build = INITIALIZER.level(level).build
    gain = config.numbers.get("init_gain", 1.0) * config.setting.batch_size**build.batch_power
    if build.follows_activation and not reads_inputs:
        gain *= activation_gain(config.levels["activation"], config.numbers)
    return float(gain * _size(level, bias, fan_in, fan_out, columns, maps)[0])


@lru_cache(maxsize=4096)
def _size(
    initializer: str, bias: str, fan_in: int, fan_out: int, columns: int, maps: int
) -> tuple[float, float]:
    """Root mean squares of a fresh draw of weights and biases, without gains."""
    draws = np.random.default_rng(0)
    build = INITIALIZER.level(initializer).build
    biases = BIAS.level(bias).build or build.bias
    weight = np.stack([build.weight(fan_in, fan_out, draws, columns=columns) for _ in range(maps)])
    offset = np.stack([biases(fan_in, columns, draws) for _ in range(maps)])
    squares = [(drawn.astype(np.float64) ** 2).mean() for drawn in (weight, offset)]
    return math.sqrt(squares[0]), math.sqrt(squares[1])
