"""What a built pack drops, and whether its network drops it there: units of each layer, inputs, weights.

Shape letters: K members, L hidden layers, B items, F features, P flat parameters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config
from search_spaces.dropout import DROPOUT, SELU_LIMIT, Dropout
from trainers.config_audit.forward_pass import InterventionProbe, forward
from trainers.config_audit.reading import AuditedProperty, BuiltPack
from trainers.networks.network import Noise

LEAST = 1e-6
"""Dropout rates below leave all scales at 1 in single precision."""

ITEMS = 4
"""Items of the two passes with and without the masks."""


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """The dropout that one member's configuration describes."""

    build: Dropout
    rate: float
    layers: tuple[bool, ...]
    """Which hidden layers lose units."""

    @staticmethod
    def of(config: Config, layers: int) -> _Expected:
        build = DROPOUT.level(config.levels["dropout"]).build
        rate = config.numbers.get("dropout_rate", 0.0)
        several = layers if build.hidden == "all" else min(build.hidden, layers)
        dropped = [False] * (layers - several) + [rate > LEAST] * several
        return _Expected(build=build, rate=rate, layers=tuple(dropped))

    @property
    def scale(self) -> float:
        """Factor on the units that are not dropped."""
        if self.build.saturates:
            return float(((1 - self.rate) * (1 + self.rate * SELU_LIMIT**2)) ** -0.5)
        return 1 / (1 - self.rate)


def mask_readings(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Every measured property of dropout; none of a user's own module, which drops by itself."""
    sites, noise = built.network.sites, built.noise
    if not sites.layers:
        return
    rows = [_Expected.of(config, sites.layers) for config in built.configs]
    yield from _units(rows, noise)
    inputs = [w.rate if w.build.inputs else 0.0 for w in rows]
    yield from _kept("inputs", inputs, None if noise.inputs is None else noise.inputs.flatten(1))
    weights = [w.rate if w.build.weights else 0.0 for w in rows]
    masks = [mask.flatten(1) for mask in noise.weights.values()]
    yield from _kept("weights", weights, torch.cat(masks, dim=1) if masks else None)
    if masks:
        measured = [sorted(noise.weights)] * len(rows)
        yield AuditedProperty(
            key="dropout.weights", expected=[sorted(sites.weights)] * len(rows), measured=measured
        )
    noisy = [ACTIVATION.level(c.levels["activation"]).build.noisy for c in built.configs]
    yield AuditedProperty(
        key="activation.noisy", expected=noisy, measured=[noise.uniform is not None] * len(noisy)
    )
    if noise.scale is not None or noise.inputs is not None or masks:
        yield from _applied(built)


def _units(rows: Sequence[_Expected], noise: Noise) -> Iterator[AuditedProperty]:
    """Dropped share, layers with dropout, and scale and offset of the units that are not dropped."""
    layers = len(rows[0].layers)
    expected = [w.rate * sum(w.layers) / layers for w in rows]
    scale = noise.scale
    if scale is None:
        yield AuditedProperty(key="dropout_rate", expected=expected, measured=[0.0] * len(expected))
        return
    scale_KLU = scale.transpose(0, 1).flatten(2)
    share_K = (scale_KLU == 0).double().mean(dim=(1, 2))
    yield AuditedProperty(
        key="dropout_rate",
        expected=expected,
        measured=share_K.tolist(),
        rtol=0.0,
        atol=_spread(scale_KLU[0].numel()),
    )
    touched = [tuple(row) for row in (scale_KLU != 1).any(2).tolist()]
    yield AuditedProperty(key="dropout.layers", expected=[w.layers for w in rows], measured=touched)
    # Where chance dropped every unit, the scale of the others is unknown.
    kept_K = scale_KLU.amax(dim=(1, 2)).tolist()
    dropping = [any(w.layers) for w in rows]
    expected = [w.scale if drops else 1.0 for w, drops in zip(rows, dropping, strict=True)]
    kept = [k or a for k, a in zip(kept_K, expected, strict=True)]
    # All layers that lose no units have a scale of 1, which may be more than alpha dropout's.
    expected = [a if all(w.layers) else max(a, 1.0) for a, w in zip(expected, rows, strict=True)]
    yield AuditedProperty(key="dropout_scale", expected=expected, measured=kept)
    expected = [-w.scale * w.rate * SELU_LIMIT * w.build.saturates for w in rows]
    offset = [0.0] * len(rows) if noise.offset is None else noise.offset.amax(dim=(0, 2, 3)).tolist()
    measured = [f if k else a for f, k, a in zip(offset, kept_K, expected, strict=True)]
    yield AuditedProperty(key="dropout_offset", expected=expected, measured=measured, atol=1e-6)


def _kept(where: str, expected: list[float], masks: Tensor | None) -> Iterator[AuditedProperty]:
    """The dropped share of masks [K, ...] and the scale of what is not dropped."""
    key = f"dropout_rate.{where}"
    if masks is None:
        yield AuditedProperty(key=key, expected=expected, measured=[0.0] * len(expected))
        return
    share = (masks == 0).double().mean(1).tolist()
    yield AuditedProperty(key=key, expected=expected, measured=share, rtol=0.0, atol=_spread(masks.shape[1]))
    wanted = [1 / (1 - rate) for rate in expected]
    kept = [k or a for k, a in zip(masks.amax(1).tolist(), wanted, strict=True)]
    yield AuditedProperty(key=f"dropout_scale.{where}", expected=wanted, measured=kept)


def _spread(count: int) -> float:
    """Six standard deviations of the dropped share of `count` draws."""
    return 6 * 0.5 / math.sqrt(count) + 1e-4


def _applied(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Whether a forward pass with masks equals one without whose tensors are multiplied by them.

    Every layer is given the same sums in both passes, so that each is tested alone.
    """
    network, count = built.network, len(built.members)
    plain = InterventionProbe()
    x_KBF = built.x_KBF[:, :ITEMS]
    forward(built, plain, x_KBF)
    ramp = {
        name: torch.linspace(3.0, -3.0, z.shape[-1]).to(z.device)
        for name, z in plain.seen.items()
        if name.startswith("sum")
    }
    ones = {name: torch.ones((), device=z.device) for name, z in plain.seen.items() if name[:6] == "hidden"}
    noise = _of_items(built.noise, ITEMS)
    with_masks, by_hand = InterventionProbe({**ramp, **ones}), InterventionProbe({**ramp, **ones})
    forward(built, with_masks, x_KBF, noise=noise)
    params_KP = built.params_KP.clone()
    views = network.parameters.views(params_KP)
    for name, mask in noise.weights.items():
        views[name].mul_(mask)
    x_KBF = x_KBF if noise.inputs is None else x_KBF * noise.inputs
    forward(built, by_hand, x_KBF, params_KP=params_KP)
    same_K = torch.ones(count, dtype=torch.bool, device=params_KP.device)
    for name, measured in with_masks.seen.items():
        expected = by_hand.seen[name]
        if name.startswith("hidden"):
            expected = _dropped(expected, noise, int(name.removeprefix("hidden")), x_KBF.shape[1])
        elif name == "output" or (network.sites.steps > 1 and noise.scale is not None):
            continue  # earlier time steps have dropped units that the probe does not see
        same_K &= close(expected, measured)
    yield AuditedProperty(key="dropout.applied", expected=[True] * count, measured=same_K.tolist())


def _of_items(noise: Noise, items: int) -> Noise:
    """The masks of the first items, without the noise of activations."""
    scale, offset = (None if t is None else t[:, :, :items] for t in (noise.scale, noise.offset))
    inputs = None if noise.inputs is None else noise.inputs[:, :items]
    return dataclasses.replace(noise, scale=scale, offset=offset, inputs=inputs, uniform=None)


def _dropped(h: Tensor, noise: Noise, layer: int, items: int) -> Tensor:
    """A layer's output [K, rows, U] times its mask, the same for all rows of an item."""
    if noise.scale is None:
        return h
    by_item = torch.unflatten(h, 1, (items, -1))
    dropped = by_item * noise.scale[layer][:, :, None, : h.shape[-1]]
    if noise.offset is not None:
        dropped = dropped + noise.offset[layer][:, :, None, : h.shape[-1]]
    return dropped.reshape(h.shape)


def close(a: Tensor, b: Tensor) -> Tensor:
    """Which members' tensors [K, ...] agree within rounding; those that are not finite count as agreeing."""
    half = min(a.element_size(), b.element_size()) < 4
    a, b = (z.double().flatten(1) for z in (a, b))
    apart, size = (torch.linalg.vector_norm(z, dim=1) for z in (a - b, a))
    agree: Tensor = ~torch.isfinite(apart + size) | (apart <= (0.03 if half else 1e-3) * size + 1e-6)
    return agree
