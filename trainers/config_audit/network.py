"""What shape a built network has: formats, layers, widths, skip connections, symmetric weights.

Shape letters: K members, B items, F features, P flat parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config
from trainers.config_audit.dropout import close, mask_readings
from trainers.config_audit.forward_pass import InterventionProbe, forward
from trainers.config_audit.hidden_layers import ITEMS, block_readings
from trainers.config_audit.initialization import start_readings
from trainers.config_audit.reading import AuditedProperty, BuiltPack
from trainers.networks import network_for
from trainers.networks.own_module import OwnModule
from trainers.tensors.layout import Layout

FORMATS = {
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "bfloat16": ("float32", "bfloat16"),
    "float16": ("float32", "float16"),
}
"""Precision -> number formats of parameters and of outputs."""

HALF = ("bfloat16", "float16")
"""Precisions that run the forward pass in autocast."""

UNGATED = "relu"
"""An activation that takes one sum for each unit."""


def network_readings(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Every measured property of the network; of a user's own module only its number formats."""
    plain = InterventionProbe()
    forward(built, plain, built.x_KBF[:, :ITEMS])
    stored, returned = (str(t.dtype).removeprefix("torch.") for t in (built.params_KP, plain.seen["output"]))
    count = len(built.members)
    expected = [FORMATS[c.setting.precision] for c in built.configs]
    if isinstance(built.network, OwnModule) and built.configs[0].setting.precision in HALF:
        # Under autocast the last operation of a user's module decides.
        expected = [(parameters, returned) for parameters, _ in expected]
    yield AuditedProperty(key="precision", expected=expected, measured=[(stored, returned)] * count)
    if isinstance(built.network, OwnModule):
        return
    layers = sum(name.startswith("hidden") for name in plain.seen)
    yield AuditedProperty(
        key="depth", expected=[c.setting.depth for c in built.configs], measured=[layers] * count
    )
    yield from _widths(built, plain)
    yield from _residual(built, plain)
    yield from _symmetric(built)
    yield from start_readings(built)
    yield from block_readings(built, plain)
    yield from mask_readings(built)


def _widths(built: BuiltPack, plain: InterventionProbe) -> Iterator[AuditedProperty]:
    """Units of each hidden layer; of gated layers, which are narrower, the number of weights."""
    count = len(built.members)
    hidden = tuple(z.shape[-1] for name, z in plain.seen.items() if name.startswith("hidden"))
    outputs = int(plain.seen["output"].shape[-1])
    yield AuditedProperty(key="outputs", expected=[built.task.n_outputs] * count, measured=[outputs] * count)
    if any(ACTIVATION.level(c.levels["activation"]).build.gated for c in built.configs):
        measured = float(_weights(built.network.parameters))
        yield AuditedProperty(
            key="gated_weights",
            expected=[_ungated(built, config) for config in built.configs],
            measured=[measured] * count,
            # One unit more or less of each layer changes the number by up to twice its share.
            rtol=min(0.9, 0.03 + 2 / min(hidden)),
        )
    else:
        expected = [_hidden(c, outputs) for c in built.configs]
        yield AuditedProperty(key="width", expected=expected, measured=[hidden] * count)


def _hidden(config: Config, outputs: int) -> tuple[int, ...]:
    """Widths of hidden layers: all alike, or shrinking by equal ratios to twice the outputs."""
    width, depth = config.setting.width, config.setting.depth
    if not config.setting.funnel or depth == 1:
        return (width,) * depth
    last = min(width, max(2 * outputs, 2))
    return tuple(round(width * (last / width) ** (i / (depth - 1))) for i in range(depth))


def _ungated(built: BuiltPack, config: Config) -> float:
    """Weights of the config's network with an activation without gates."""
    levels = {**config.levels, "activation": UNGATED}
    return float(_weights(network_for(dataclasses.replace(config, levels=levels), built.task).parameters))


def _weights(layout: Layout) -> int:
    return sum(segment.size for segment in layout.segments if segment.role == "weight")


def _residual(built: BuiltPack, plain: InterventionProbe) -> Iterator[AuditedProperty]:
    """Skip connections: whether the first layer reaches the output around silenced layers."""
    hidden = [z.shape[-1] for name, z in plain.seen.items() if name.startswith("hidden")]
    if len(hidden) < 2 or hidden[0] != hidden[1]:
        return
    heavy = [k for k, c in enumerate(built.configs) if c.levels["initializer"] != "zeros"]
    if not heavy:
        return
    one = built.alone(heavy[0])
    dark, lit = InterventionProbe(silent=True), InterventionProbe({"hidden0": torch.ones(())}, silent=True)
    for watch in (dark, lit):
        forward(one, watch, one.x_KBF[:, :1])
    moved = bool((dark.seen["output"] != lit.seen["output"]).any())
    expected = [c.setting.residual for c in built.configs]
    yield AuditedProperty(key="residual", expected=expected, measured=[moved] * len(expected))


def _symmetric(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Symmetric weights: whether transposing the square weights of hidden layers changes nothing."""
    one, layout = built.alone(0), built.network.parameters
    names = [s.name for s in layout.segments if s.role == "weight"][:-1]
    straight_KP, turned_KP = one.params_KP.clone(), one.params_KP.clone()
    straight, turned = (layout.views(row) for row in (straight_KP, turned_KP))
    square = [n for n in names if straight[n].shape[1] == straight[n].shape[2] > 1]
    if not square or ACTIVATION.level(built.configs[0].levels["activation"]).build.gated:
        return
    draws = torch.Generator().manual_seed(0)
    for name in square:
        weight = torch.randn(straight[name].shape[1:], generator=draws).to(straight_KP)
        straight[name].copy_(weight / len(weight) ** 0.5)
        turned[name].copy_(straight[name].mT)
    # Every layer reads the same ramp, so none can be silent.
    x_KBF = torch.linspace(-1.0, 1.0, built.x_KBF.shape[2]).to(straight_KP).expand(1, 1, -1)
    units = {s.name: s.shape[-1] for s in layout.segments if s.role == "weight"}
    ramps = {
        f"hidden{i}": torch.linspace(-1.0, 1.0, units[f"weight{i}"]).to(straight_KP)
        for i in range(built.network.sites.layers)
    }
    seen = []
    for row in (straight_KP, turned_KP):
        probe = InterventionProbe(ramps)
        forward(one, probe, x_KBF, params_KP=row)
        seen.append(probe.seen)
    same = all(bool(close(z, seen[1][name])) for name, z in seen[0].items() if name.startswith("sum"))
    expected = [c.levels["weight_constraint"] == "symmetric" for c in built.configs]
    yield AuditedProperty(key="symmetric", expected=expected, measured=[same] * len(expected))
