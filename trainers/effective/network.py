"""What a built network does to numbers it is given: layers, blocks, norms, first weights, formats.

Shape letters: K members, B items, F features.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config
from search_spaces.factor import Level
from search_spaces.normalizations import NORMALIZATION, Normalization
from trainers.effective.reading import Reading, Wiring
from trainers.layout import Layout
from trainers.networks.block import Block
from trainers.networks.linear import Start, filled
from trainers.networks.network import Pass
from trainers.networks.own_module import OwnModule
from trainers.networks.perceptron import Perceptron

SCALE_FREE = {"none": False, "batch_norm": True, "layer_norm": True, "rms_norm": True}
"""Whether a block with this norm gives the same when its sums are doubled."""

FEW = 8
"""Numbers in a first weight or bias from which its root mean square is looked at."""

FORMATS = {
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "bfloat16": ("float32", "bfloat16"),
    "float16": ("float32", "float16"),
}
"""Precision -> what parameters are kept in and what outputs come in."""


def network_readings(wiring: Wiring) -> Iterator[Reading]:
    """What can be read back of the network; of a user's own module only its number formats."""
    plain = _Probe()
    _forward(wiring, plain)
    kept, given = (str(t.dtype).removeprefix("torch.") for t in (wiring.params_KP, plain.seen["output"]))
    count = len(wiring.members)
    asked = [FORMATS[c.setting.precision] for c in wiring.configs]
    yield Reading(key="precision", asked=asked, found=[(kept, given)] * count)
    if isinstance(wiring.network, OwnModule):
        return
    layers = sum(name.startswith("hidden") for name in plain.seen)
    yield Reading(key="depth", asked=[c.setting.depth for c in wiring.configs], found=[layers] * count)
    if isinstance(wiring.network, Perceptron):
        yield from _perceptron(wiring, plain)
        yield from _first_weights(wiring)
    yield from _blocks(wiring, plain)


class _Probe:
    """A watch that replaces some tensors and keeps others."""

    def __init__(self, replaced: Mapping[str, Tensor] | None = None, *, silent: bool = False):
        self.replaced = replaced or {}
        self.silent = silent
        """Hidden outputs that are not replaced become zero."""
        self.seen: dict[str, Tensor] = {}

    def __call__(self, name: str, z: Tensor) -> Tensor:
        self.seen[name] = z
        if name in self.replaced:
            return self.replaced[name].to(z.dtype).expand_as(z)
        return torch.zeros_like(z) if self.silent and name.startswith("hidden") else z


def _forward(wiring: Wiring, probe: _Probe, *, training: bool = False) -> Tensor:
    """The running statistics [K, P] that one pass leaves behind; the pack's own stay as they are."""
    buffers_KP = wiring.buffers_KP.clone()
    how = Pass(training=training, numbers=wiring.numbers, watch=probe)
    parameters = wiring.network.parameters.views(wiring.params_KP)
    x_KBF = wiring.x_KBF[:, : max(2, min(8, wiring.x_KBF.shape[1]))]
    with wiring.autocast():
        wiring.network.forward(parameters, wiring.network.buffers.views(buffers_KP), x_KBF, how)
    return buffers_KP


def _perceptron(wiring: Wiring, probe: _Probe) -> Iterator[Reading]:
    """Widths from what flows, and skip connections: does the first layer reach the end around the rest?"""
    count = len(wiring.members)
    hidden = [z.shape[-1] for name, z in probe.seen.items() if name.startswith("hidden")]
    setting = wiring.configs[0].setting
    if wiring.network.sites.width == hidden[0] and not _gated(wiring.configs[0]):
        yield Reading(key="width", asked=[setting.width] * count, found=[hidden[0]] * count)
    narrowing = any(a > b for a, b in itertools.pairwise(hidden))
    if not setting.funnel:
        yield Reading(key="funnel", asked=[False] * count, found=[narrowing] * count)
    outputs = int(probe.seen["output"].shape[-1])
    yield Reading(key="outputs", asked=[wiring.task.n_outputs] * count, found=[outputs] * count)
    if len(hidden) < 2 or hidden[0] != hidden[1]:
        return
    one = torch.ones(())
    dark, lit = _Probe(silent=True), _Probe({"hidden0": one}, silent=True)
    for watch in (dark, lit):
        _forward(wiring, watch)
    moved = (dark.seen["output"] != lit.seen["output"]).flatten(1).any(1).tolist()
    weightless = all(c.levels["initializer"] == "zeros" for c in wiring.configs)
    if not weightless:
        asked = [c.setting.residual and c.levels["initializer"] != "zeros" for c in wiring.configs]
        yield Reading(key="residual", asked=asked, found=moved)


def _blocks(wiring: Wiring, probe: _Probe) -> Iterator[Reading]:
    """The first block's answer to a grid, against that of a block built anew for each member alone."""
    shape = probe.seen["sum0"].shape
    grid = torch.linspace(-3.0, 3.0, shape[1] * shape[2])
    # Not in order, or every unit's batch would be the same line: norms are to have something to do.
    grid = grid[torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))]
    grid = grid.view(shape[1:]).to(wiring.params_KP.device, wiring.params_KP.dtype)
    level = NORMALIZATION.level(wiring.configs[0].levels["normalization"])
    if level.build.over == "item" and not isinstance(wiring.network, Perceptron):
        return
    yield from _norm(wiring, level, grid) if level.name in SCALE_FREE else ()
    answer = _Probe({"sum0": grid})
    _forward(wiring, answer)
    found = [
        _named(config, grid, h) for config, h in zip(wiring.configs, answer.seen["hidden0"], strict=True)
    ]
    asked = [config.levels["activation"] for config in wiring.configs]
    yield Reading(key="activation", asked=asked, found=found)


def _norm(wiring: Wiring, level: Level[Normalization], grid: Tensor) -> Iterator[Reading]:
    """What the norm is told by: scale does not pass it, it has parameters, its statistics run."""
    count = len(wiring.members)
    once, twice = _Probe({"sum0": grid}), _Probe({"sum0": 2 * grid})
    left_KP = _forward(wiring, once, training=True)
    _forward(wiring, twice, training=True)
    a, b = (p.seen["hidden0"].float().flatten(1) for p in (once, twice))
    same = ((a - b).norm(dim=1) <= 0.01 * a.norm(dim=1)).tolist()
    yield Reading(key="normalization.scale_free", asked=[SCALE_FREE[level.name]] * count, found=same)
    trained = any(s.name == "gain0" for s in wiring.network.parameters.segments)
    yield Reading(key="normalization.trained", asked=[level.build.affine] * count, found=[trained] * count)
    if level.build.running and isinstance(wiring.network, Perceptron):  # others share them over places
        mean = wiring.network.buffers.views(left_KP)["running_mean0"].flatten(1)
        batch = grid.mean(0)
        weight = (mean * batch).sum(1) / batch.square().sum()
        momenta = [c.numbers["norm_momentum"] for c in wiring.configs]
        yield Reading(key="norm_momentum", asked=momenta, found=weight.tolist())


def _named(config: Config, grid: Tensor, found: Tensor) -> str:
    """The name of the activation that answers the grid like this: the one asked for, if it does."""
    asked = config.levels["activation"]
    for name in (asked, *(name for name in ACTIVATION.names if name != asked)):
        expected = _answer(config, name, grid)
        if expected.shape == found.shape and torch.allclose(
            expected.float(), found.float(), rtol=0.02, atol=0.02 if found.element_size() < 4 else 1e-3
        ):
            return name
    return "none of the catalogue with these numbers"


def _answer(config: Config, activation: str, grid: Tensor) -> Tensor:
    """What a fresh block of one member answers, with this activation in it."""
    block = dataclasses.replace(Block.of(config), activation=activation)
    features = grid.shape[-1] // block.maps
    layouts = Layout.of(block.parameters(0, features)), Layout.of(block.buffers(0, features))
    start = block.start(0, features)
    parameters, buffers = (layout.views(filled(layout, start).to(grid)) for layout in layouts)
    spans = {r.name: r.default for r in ACTIVATION.level(activation).ranges}
    values = {**spans, **config.numbers}
    numbers = {name: torch.as_tensor(value).to(grid) for name, value in values.items()}
    return block.apply(0, grid, parameters, buffers, Pass(training=False, numbers=numbers))


def _first_weights(wiring: Wiring) -> Iterator[Reading]:
    """Root mean squares of first weights and biases against the initializer's own law.

    A fresh draw of the same shape stands for the law; their ratio varies by about 1 / sqrt(n), and fewer
    than eight numbers say nothing.
    """
    layout = wiring.network.parameters
    views = layout.views(wiring.params_KP)
    maps = [s for s in layout.segments if s.role == "weight"]
    for segment in layout.segments:
        if segment.role not in ("weight", "bias"):
            continue
        number = segment.name.removeprefix("weight").removeprefix("bias")
        weight = views.get(f"weight{number}")
        if weight is None or weight.ndim != 3 or segment.size < FEW:
            continue
        fan_in, fan_out = weight.shape[1:]
        hidden = number != str(len(maps) - 1)
        several = 2 if hidden and _gated(wiring.configs[0]) else 1
        shape = (int(fan_in), int(fan_out) // several, number == "0", hidden, several)
        squares = views[segment.name].double().square().flatten(1).mean(1).sqrt().tolist()
        asked = [_law(Start.of(config), *shape)[segment.role] for config in wiring.configs]
        yield Reading(
            key=f"initializer.{segment.name}",
            asked=asked,
            found=squares,
            near=min(0.95, 5 / math.sqrt(segment.size)),
        )


@lru_cache(maxsize=4096)
def _law(
    start: Start, fan_in: int, fan_out: int, reads_inputs: bool, hidden: bool, maps: int
) -> dict[str, float]:
    """Role -> root mean square that a start asks of one map's weights and biases."""
    draws = np.random.default_rng(0)
    weight, bias = start.draw(fan_in, fan_out, draws, reads_inputs=reads_inputs, hidden=hidden, maps=maps)
    return {"weight": float(np.sqrt((weight**2).mean())), "bias": float(np.sqrt((bias**2).mean()))}


def _gated(config: Config) -> bool:
    return ACTIVATION.level(config.levels["activation"]).build.gated
