"""What surrounds a built network's linear maps: norms and activations, told by what they answer.

Shape letters: K members, B items, F features, P flat parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config
from search_spaces.factor import Level
from search_spaces.input_scaling import INPUT_SCALING
from search_spaces.normalizations import NORM_MOMENTUM, NORMALIZATION, Normalization
from trainers.config_audit.forward_pass import InterventionProbe, forward
from trainers.config_audit.reading import AuditedProperty, BuiltPack
from trainers.networks.block import Block
from trainers.networks.network import ForwardPass
from trainers.tensors.layout import Layout

SCALE_FREE = {
    "none": False,
    "batch_norm": True,
    "batch_norm_no_bias": True,
    "layer_norm": True,
    "rms_norm": True,
}
"""Whether a block with this norm gives the same when its sums are doubled."""

ITEMS = 8
"""Items of a pass."""


def block_readings(wiring: BuiltPack, plain: InterventionProbe) -> Iterator[AuditedProperty]:
    """The first block's answer to a grid, against that of a block built anew for each member alone."""
    level = NORMALIZATION.level(wiring.configs[0].levels["normalization"])
    grid = _shuffled(plain.seen["sum0"].shape[1:]).to(wiring.params_KP)
    x_BF = _shuffled(torch.Size((min(ITEMS, wiring.x_KBF.shape[1]), wiring.x_KBF.shape[2])))
    yield from _norms(wiring, level, grid, x_BF.to(wiring.params_KP).expand(len(wiring.members), -1, -1))
    if level.build.over == "item" and wiring.network.sites.places > 1:
        return
    answer = InterventionProbe({"sum0": grid}, until="hidden0")
    forward(wiring, answer, wiring.x_KBF[:, :ITEMS])
    known: dict[tuple[object, ...], Tensor] = {}
    found = [
        _named(config, grid, h, known)
        for config, h in zip(wiring.configs, answer.seen["hidden0"], strict=True)
    ]
    asked = [config.levels["activation"] for config in wiring.configs]
    yield AuditedProperty(key="activation", asked=asked, found=found)


def _shuffled(shape: torch.Size) -> Tensor:
    """Numbers from -3 to 3, not in order: else every unit's batch would be the same line, and norms idle."""
    grid = torch.linspace(-3.0, 3.0, shape.numel())
    return grid[torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))].view(shape)


def _norms(
    wiring: BuiltPack, level: Level[Normalization], grid: Tensor, x_KBF: Tensor
) -> Iterator[AuditedProperty]:
    """What norms are told by: scale does not pass them, they have parameters, their statistics run."""
    count, configs = len(wiring.members), wiring.configs
    once, twice = (
        InterventionProbe({"sum0": grid}, until="hidden0"),
        InterventionProbe({"sum0": 2 * grid}, until="hidden0"),
    )
    left_KP = forward(wiring, once, x_KBF, training=True)
    forward(wiring, twice, 2 * x_KBF, training=True)
    first = [INPUT_SCALING.level(c.levels["input_scaling"]).build.first_layer_norm for c in configs]
    if any(c.levels["initializer"] != "zeros" for c in configs):
        found = _same(once.seen["sum0"], twice.seen["sum0"])
        # Weights of zero, and signals that overflow on their way through time, say nothing.
        finite = torch.isfinite(once.seen["sum0"] + twice.seen["sum0"]).flatten(1).all(1).tolist()
        wanted = [
            a if c.levels["initializer"] != "zeros" and ok else f
            for a, f, c, ok in zip(first, found, configs, finite, strict=True)
        ]
        yield AuditedProperty(key="input_norm", asked=wanted, found=found)
    if level.name in SCALE_FREE:
        same = _same(once.seen["hidden0"], twice.seen["hidden0"])
        yield AuditedProperty(
            key="normalization.scale_free", asked=[SCALE_FREE[level.name]] * count, found=same
        )
    names = {s.name for s in wiring.network.parameters.segments}
    asked = [level.build.affine] * count
    yield AuditedProperty(key="normalization.trained", asked=asked, found=["gain0" in names] * count)
    kept = {s.name for s in wiring.network.buffers.segments}
    runs = {"": "running_mean0" in kept, ".inputs": "running_mean_in" in kept}
    yield AuditedProperty(
        key="normalization.runs", asked=[level.build.running] * count, found=[runs[""]] * count
    )
    if not any(runs.values()):
        return
    # The batch is the same, so what is left of the difference is the weight of the old.
    shifted_KP = wiring.buffers_KP + 1
    shifted = InterventionProbe({"sum0": grid}, until="hidden0")
    shifted_KP = forward(wiring, shifted, x_KBF, training=True, buffers_KP=shifted_KP)
    steps = wiring.network.sites.steps
    momenta = [c.numbers.get("norm_momentum", NORM_MOMENTUM.default) for c in configs]
    for place, name in (("", "running_mean0"), (".inputs", "running_mean_in")):
        if runs[place]:
            a, b = (wiring.network.buffers.views(row)[name].flatten(1) for row in (shifted_KP, left_KP))
            weight = 1 - (a - b).double().mean(1)
            # Every step of a sequence rounds once in single precision.
            yield AuditedProperty(
                key=f"norm_momentum{place}",
                asked=momenta,
                found=weight.tolist(),
                near=5e-3,
                least=1e-6 + 2e-7 * steps,
            )


def _same(once: Tensor, twice: Tensor) -> list[bool]:
    """Which members' tensors [K, ...] differ by less than a hundredth."""
    a, b = (z.float().flatten(1) for z in (once, twice))
    same: list[bool] = ((a - b).norm(dim=1) <= 0.01 * a.norm(dim=1)).tolist()
    return same


def _named(config: Config, grid: Tensor, found: Tensor, known: dict[tuple[object, ...], Tensor]) -> str:
    """The name of the activation that answers the grid like this: the one asked for, if it does."""
    asked = config.levels["activation"]
    for name in (asked, *(name for name in ACTIVATION.names if name != asked)):
        key = (name, Block.of(config), *(config.numbers.get(r.name) for r in ACTIVATION.level(name).ranges))
        if key not in known:
            known[key] = _answer(config, name, grid)
        expected = known[key]
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
    parameters, buffers = (layout.views(layout.filled(start).to(grid)) for layout in layouts)
    spans = {r.name: r.default for r in ACTIVATION.level(activation).ranges}
    values = {**spans, **config.numbers}
    numbers = {name: torch.as_tensor(value).to(grid) for name, value in values.items()}
    return block.apply(0, grid, parameters, buffers, ForwardPass(training=False, numbers=numbers))
