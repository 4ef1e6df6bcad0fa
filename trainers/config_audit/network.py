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
"""Precision -> what parameters are kept in and what outputs come in."""

UNGATED = "relu"
"""An activation that takes one sum for each unit."""


def network_readings(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """What can be read back of the network; of a user's own module only its number formats."""
    plain = InterventionProbe()
    forward(wiring, plain, wiring.x_KBF[:, :ITEMS])
    kept, given = (str(t.dtype).removeprefix("torch.") for t in (wiring.params_KP, plain.seen["output"]))
    count = len(wiring.members)
    asked = [FORMATS[c.setting.precision] for c in wiring.configs]
    if isinstance(wiring.network, OwnModule) and wiring.configs[0].setting.precision in (
        "bfloat16",
        "float16",
    ):
        asked = [(parameters, given) for parameters, _ in asked]  # autocast leaves it to the last operation
    yield AuditedProperty(key="precision", asked=asked, found=[(kept, given)] * count)
    if isinstance(wiring.network, OwnModule):
        return
    layers = sum(name.startswith("hidden") for name in plain.seen)
    yield AuditedProperty(
        key="depth", asked=[c.setting.depth for c in wiring.configs], found=[layers] * count
    )
    yield from _widths(wiring, plain)
    yield from _residual(wiring, plain)
    yield from _symmetric(wiring)
    yield from start_readings(wiring)
    yield from block_readings(wiring, plain)
    yield from mask_readings(wiring)


def _widths(wiring: BuiltPack, plain: InterventionProbe) -> Iterator[AuditedProperty]:
    """Units of each hidden layer from what flows; of gated ones, which are fewer, the number of weights."""
    count = len(wiring.members)
    hidden = tuple(z.shape[-1] for name, z in plain.seen.items() if name.startswith("hidden"))
    outputs = int(plain.seen["output"].shape[-1])
    yield AuditedProperty(key="outputs", asked=[wiring.task.n_outputs] * count, found=[outputs] * count)
    if any(ACTIVATION.level(c.levels["activation"]).build.gated for c in wiring.configs):
        found = float(_weights(wiring.network.parameters))
        yield AuditedProperty(
            key="gated_weights",
            asked=[_ungated(wiring, config) for config in wiring.configs],
            found=[found] * count,
            # One unit more or less of each layer changes the number by up to twice its share.
            near=min(0.9, 0.03 + 2 / min(hidden)),
        )
    else:
        asked = [_hidden(c, outputs) for c in wiring.configs]
        yield AuditedProperty(key="width", asked=asked, found=[hidden] * count)


def _hidden(config: Config, outputs: int) -> tuple[int, ...]:
    """Widths of hidden layers: all alike, or shrinking by equal ratios to twice the outputs."""
    width, depth = config.setting.width, config.setting.depth
    if not config.setting.funnel or depth == 1:
        return (width,) * depth
    last = min(width, max(2 * outputs, 2))
    return tuple(round(width * (last / width) ** (i / (depth - 1))) for i in range(depth))


def _ungated(wiring: BuiltPack, config: Config) -> float:
    """Weights of the config's network with an activation without gates."""
    levels = {**config.levels, "activation": UNGATED}
    return float(_weights(network_for(dataclasses.replace(config, levels=levels), wiring.task).parameters))


def _weights(layout: Layout) -> int:
    return sum(segment.size for segment in layout.segments if segment.role == "weight")


def _residual(wiring: BuiltPack, plain: InterventionProbe) -> Iterator[AuditedProperty]:
    """Skip connections: does the first layer reach the end around the rest?"""
    hidden = [z.shape[-1] for name, z in plain.seen.items() if name.startswith("hidden")]
    if len(hidden) < 2 or hidden[0] != hidden[1]:
        return
    heavy = [k for k, c in enumerate(wiring.configs) if c.levels["initializer"] != "zeros"]
    if not heavy:
        return
    one = wiring.alone(heavy[0])
    dark, lit = InterventionProbe(silent=True), InterventionProbe({"hidden0": torch.ones(())}, silent=True)
    for watch in (dark, lit):
        forward(one, watch, one.x_KBF[:, :1])
    moved = bool((dark.seen["output"] != lit.seen["output"]).any())
    asked = [c.setting.residual for c in wiring.configs]
    yield AuditedProperty(key="residual", asked=asked, found=[moved] * len(asked))


def _symmetric(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """Whether the square weights of hidden layers may be transposed without anybody noticing."""
    one, layout = wiring.alone(0), wiring.network.parameters
    names = [s.name for s in layout.segments if s.role == "weight"][:-1]
    straight_KP, turned_KP = one.params_KP.clone(), one.params_KP.clone()
    straight, turned = (layout.views(row) for row in (straight_KP, turned_KP))
    square = [n for n in names if straight[n].shape[1] == straight[n].shape[2] > 1]
    if not square or ACTIVATION.level(wiring.configs[0].levels["activation"]).build.gated:
        return
    draws = torch.Generator().manual_seed(0)
    for name in square:
        weight = torch.randn(straight[name].shape[1:], generator=draws).to(straight_KP)
        straight[name].copy_(weight / len(weight) ** 0.5)
        turned[name].copy_(straight[name].mT)
    # Every layer reads the same ramp, so none can be silent.
    x_KBF = torch.linspace(-1.0, 1.0, wiring.x_KBF.shape[2]).to(straight_KP).expand(1, 1, -1)
    units = {s.name: s.shape[-1] for s in layout.segments if s.role == "weight"}
    ramps = {
        f"hidden{i}": torch.linspace(-1.0, 1.0, units[f"weight{i}"]).to(straight_KP)
        for i in range(wiring.network.sites.layers)
    }
    seen = []
    for row in (straight_KP, turned_KP):
        probe = InterventionProbe(ramps)
        forward(one, probe, x_KBF, params_KP=row)
        seen.append(probe.seen)
    same = all(bool(close(z, seen[1][name])) for name, z in seen[0].items() if name.startswith("sum"))
    asked = [c.levels["weight_constraint"] == "symmetric" for c in wiring.configs]
    yield AuditedProperty(key="symmetric", asked=asked, found=[same] * len(asked))
