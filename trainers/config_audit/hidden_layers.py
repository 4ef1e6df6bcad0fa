"""Norms and activations of a built network, recognized by their outputs on a grid of sums.

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
"""Norm -> whether doubling a layer's sums leaves its output unchanged."""

ITEMS = 8
"""Items of a pass."""


def block_readings(built: BuiltPack, plain: InterventionProbe) -> Iterator[AuditedProperty]:
    """The first block's output on a grid, against that of a block built for each member alone."""
    level = NORMALIZATION.level(built.configs[0].levels["normalization"])
    grid = _shuffled(plain.seen["sum0"].shape[1:]).to(built.params_KP)
    x_BF = _shuffled(torch.Size((min(ITEMS, built.x_KBF.shape[1]), built.x_KBF.shape[2])))
    yield from _norms(built, level, grid, x_BF.to(built.params_KP).expand(len(built.members), -1, -1))
    if level.build.over == "item" and built.network.sites.places > 1:
        return
    answer = InterventionProbe({"sum0": grid}, until="hidden0")
    forward(built, answer, built.x_KBF[:, :ITEMS])
    known: dict[tuple[object, ...], Tensor] = {}
    measured = [
        _named(config, grid, h, known)
        for config, h in zip(built.configs, answer.seen["hidden0"], strict=True)
    ]
    expected = [config.levels["activation"] for config in built.configs]
    yield AuditedProperty(key="activation", expected=expected, measured=measured)


def _shuffled(shape: torch.Size) -> Tensor:
    """Numbers from -3 to 3 in a fixed random order: in sequence, every unit would have the same moments."""
    grid = torch.linspace(-3.0, 3.0, shape.numel())
    return grid[torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))].view(shape)


def _norms(
    built: BuiltPack, level: Level[Normalization], grid: Tensor, x_KBF: Tensor
) -> Iterator[AuditedProperty]:
    """What shows a norm: invariance to scale, trained parameters, running statistics and their momentum."""
    count, configs = len(built.members), built.configs
    once, twice = (
        InterventionProbe({"sum0": grid}, until="hidden0"),
        InterventionProbe({"sum0": 2 * grid}, until="hidden0"),
    )
    left_KP = forward(built, once, x_KBF, training=True)
    forward(built, twice, 2 * x_KBF, training=True)
    first = [INPUT_SCALING.level(c.levels["input_scaling"]).build.first_layer_norm for c in configs]
    if any(c.levels["initializer"] != "zeros" for c in configs):
        measured = _same(once.seen["sum0"], twice.seen["sum0"])
        # Nothing is known where weights are zero, or signals overflow over the time steps.
        finite = torch.isfinite(once.seen["sum0"] + twice.seen["sum0"]).flatten(1).all(1).tolist()
        wanted = [
            a if c.levels["initializer"] != "zeros" and ok else f
            for a, f, c, ok in zip(first, measured, configs, finite, strict=True)
        ]
        yield AuditedProperty(key="input_norm", expected=wanted, measured=measured)
    if level.name in SCALE_FREE:
        same = _same(once.seen["hidden0"], twice.seen["hidden0"])
        yield AuditedProperty(
            key="normalization.scale_free", expected=[SCALE_FREE[level.name]] * count, measured=same
        )
    names = {s.name for s in built.network.parameters.segments}
    expected = [level.build.affine] * count
    yield AuditedProperty(key="normalization.trained", expected=expected, measured=["gain0" in names] * count)
    kept = {s.name for s in built.network.buffers.segments}
    runs = {"": "running_mean0" in kept, ".inputs": "running_mean_in" in kept}
    yield AuditedProperty(
        key="normalization.runs", expected=[level.build.running] * count, measured=[runs[""]] * count
    )
    if not any(runs.values()):
        return
    # The batch is the same, so the remaining difference is the weight of the earlier statistics.
    shifted_KP = built.buffers_KP + 1
    shifted = InterventionProbe({"sum0": grid}, until="hidden0")
    shifted_KP = forward(built, shifted, x_KBF, training=True, buffers_KP=shifted_KP)
    steps = built.network.sites.steps
    momenta = [c.numbers.get("norm_momentum", NORM_MOMENTUM.default) for c in configs]
    for place, name in (("", "running_mean0"), (".inputs", "running_mean_in")):
        if runs[place]:
            a, b = (built.network.buffers.views(row)[name].flatten(1) for row in (shifted_KP, left_KP))
            weight = 1 - (a - b).double().mean(1)
            # Every step of a sequence rounds once in single precision.
            yield AuditedProperty(
                key=f"norm_momentum{place}",
                expected=momenta,
                measured=weight.tolist(),
                rtol=5e-3,
                atol=1e-6 + 2e-7 * steps,
            )


def _same(once: Tensor, twice: Tensor) -> list[bool]:
    """Which members' tensors [K, ...] differ by less than a hundredth."""
    a, b = (z.float().flatten(1) for z in (once, twice))
    same: list[bool] = ((a - b).norm(dim=1) <= 0.01 * a.norm(dim=1)).tolist()
    return same


def _named(config: Config, grid: Tensor, measured: Tensor, known: dict[tuple[object, ...], Tensor]) -> str:
    """The activation that gives this output on the grid: the configured one, if it does."""
    expected = config.levels["activation"]
    for name in (expected, *(name for name in ACTIVATION.names if name != expected)):
        key = (name, Block.of(config), *(config.numbers.get(r.name) for r in ACTIVATION.level(name).ranges))
        if key not in known:
            known[key] = _answer(config, name, grid)
        answer = known[key]
        if answer.shape == measured.shape and torch.allclose(
            answer.float(), measured.float(), rtol=0.02, atol=0.02 if measured.element_size() < 4 else 1e-3
        ):
            return name
    return "none of the catalogue with these numbers"


def _answer(config: Config, activation: str, grid: Tensor) -> Tensor:
    """The output on the grid of a new block of one member with this activation."""
    block = dataclasses.replace(Block.of(config), activation=activation)
    features = grid.shape[-1] // block.maps
    layouts = Layout.of(block.parameters(0, features)), Layout.of(block.buffers(0, features))
    start = block.start(0, features)
    parameters, buffers = (layout.views(layout.filled(start).to(grid)) for layout in layouts)
    spans = {r.name: r.default for r in ACTIVATION.level(activation).ranges}
    values = {**spans, **config.numbers}
    numbers = {name: torch.as_tensor(value).to(grid) for name, value in values.items()}
    return block.apply(0, grid, parameters, buffers, ForwardPass(training=False, numbers=numbers))
