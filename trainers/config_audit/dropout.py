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
class _Wish:
    """What one member asks to be dropped."""

    build: Dropout
    rate: float
    layers: tuple[bool, ...]
    """Which hidden layers lose units."""

    @staticmethod
    def of(config: Config, layers: int) -> _Wish:
        build = DROPOUT.level(config.levels["dropout"]).build
        rate = config.numbers.get("dropout_rate", 0.0)
        several = layers if build.hidden == "all" else min(build.hidden, layers)
        dropped = [False] * (layers - several) + [rate > LEAST] * several
        return _Wish(build=build, rate=rate, layers=tuple(dropped))

    @property
    def scale(self) -> float:
        """What the surviving units are multiplied by."""
        if self.build.saturates:
            return float(((1 - self.rate) * (1 + self.rate * SELU_LIMIT**2)) ** -0.5)
        return 1 / (1 - self.rate)


def mask_readings(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """Everything about dropout; of a user's own module, which drops by itself, nothing."""
    sites, noise = wiring.network.sites, wiring.noise
    if not sites.layers:
        return
    wishes = [_Wish.of(config, sites.layers) for config in wiring.configs]
    yield from _units(wishes, noise)
    inputs = [w.rate if w.build.inputs else 0.0 for w in wishes]
    yield from _kept("inputs", inputs, None if noise.inputs is None else noise.inputs.flatten(1))
    weights = [w.rate if w.build.weights else 0.0 for w in wishes]
    masks = [mask.flatten(1) for mask in noise.weights.values()]
    yield from _kept("weights", weights, torch.cat(masks, dim=1) if masks else None)
    if masks:
        found = [sorted(noise.weights)] * len(wishes)
        yield AuditedProperty(key="dropout.weights", asked=[sorted(sites.weights)] * len(wishes), found=found)
    noisy = [ACTIVATION.level(c.levels["activation"]).build.noisy for c in wiring.configs]
    yield AuditedProperty(key="activation.noisy", asked=noisy, found=[noise.uniform is not None] * len(noisy))
    if noise.scale is not None or noise.inputs is not None or masks:
        yield from _applied(wiring)


def _units(wishes: Sequence[_Wish], noise: Noise) -> Iterator[AuditedProperty]:
    """Dropped share, dropped layers, and what the survivors are multiplied by and moved by."""
    layers = len(wishes[0].layers)
    asked = [w.rate * sum(w.layers) / layers for w in wishes]
    scale = noise.scale
    if scale is None:
        yield AuditedProperty(key="dropout_rate", asked=asked, found=[0.0] * len(asked))
        return
    scale_KLU = scale.transpose(0, 1).flatten(2)
    share_K = (scale_KLU == 0).double().mean(dim=(1, 2))
    yield AuditedProperty(
        key="dropout_rate", asked=asked, found=share_K.tolist(), near=0.0, least=_spread(scale_KLU[0].numel())
    )
    touched = [tuple(row) for row in (scale_KLU != 1).any(2).tolist()]
    yield AuditedProperty(key="dropout.layers", asked=[w.layers for w in wishes], found=touched)
    # Where chance spared nothing at all, nothing is known of what is spared.
    kept_K = scale_KLU.amax(dim=(1, 2)).tolist()
    dropping = [any(w.layers) for w in wishes]
    asked = [w.scale if drops else 1.0 for w, drops in zip(wishes, dropping, strict=True)]
    kept = [k or a for k, a in zip(kept_K, asked, strict=True)]
    # All layers that lose no units have a scale of 1, which may be more than alpha dropout's.
    asked = [a if all(w.layers) else max(a, 1.0) for a, w in zip(asked, wishes, strict=True)]
    yield AuditedProperty(key="dropout_scale", asked=asked, found=kept)
    asked = [-w.scale * w.rate * SELU_LIMIT * w.build.saturates for w in wishes]
    offset = [0.0] * len(wishes) if noise.offset is None else noise.offset.amax(dim=(0, 2, 3)).tolist()
    found = [f if k else a for f, k, a in zip(offset, kept_K, asked, strict=True)]
    yield AuditedProperty(key="dropout_offset", asked=asked, found=found, least=1e-6)


def _kept(where: str, asked: list[float], masks: Tensor | None) -> Iterator[AuditedProperty]:
    """The dropped share of masks [K, ...] and what they multiply the others by."""
    key = f"dropout_rate.{where}"
    if masks is None:
        yield AuditedProperty(key=key, asked=asked, found=[0.0] * len(asked))
        return
    share = (masks == 0).double().mean(1).tolist()
    yield AuditedProperty(key=key, asked=asked, found=share, near=0.0, least=_spread(masks.shape[1]))
    wanted = [1 / (1 - rate) for rate in asked]
    kept = [k or a for k, a in zip(masks.amax(1).tolist(), wanted, strict=True)]
    yield AuditedProperty(key=f"dropout_scale.{where}", asked=wanted, found=kept)


def _spread(count: int) -> float:
    """Six standard deviations of the dropped share of so many."""
    return 6 * 0.5 / math.sqrt(count) + 1e-4


def _applied(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """Whether a pass with masks gives what a pass without gives when the masks are multiplied in by hand.

    Every layer gets the same sums and hands the same on in both passes, so that it answers for itself.
    """
    network, count = wiring.network, len(wiring.members)
    plain = InterventionProbe()
    x_KBF = wiring.x_KBF[:, :ITEMS]
    forward(wiring, plain, x_KBF)
    ramp = {
        name: torch.linspace(3.0, -3.0, z.shape[-1]).to(z.device)
        for name, z in plain.seen.items()
        if name.startswith("sum")
    }
    ones = {name: torch.ones((), device=z.device) for name, z in plain.seen.items() if name[:6] == "hidden"}
    noise = _of_items(wiring.noise, ITEMS)
    with_masks, by_hand = InterventionProbe({**ramp, **ones}), InterventionProbe({**ramp, **ones})
    forward(wiring, with_masks, x_KBF, noise=noise)
    params_KP = wiring.params_KP.clone()
    views = network.parameters.views(params_KP)
    for name, mask in noise.weights.items():
        views[name].mul_(mask)
    x_KBF = x_KBF if noise.inputs is None else x_KBF * noise.inputs
    forward(wiring, by_hand, x_KBF, params_KP=params_KP)
    same_K = torch.ones(count, dtype=torch.bool, device=params_KP.device)
    for name, found in with_masks.seen.items():
        expected = by_hand.seen[name]
        if name.startswith("hidden"):
            expected = _dropped(expected, noise, int(name.removeprefix("hidden")), x_KBF.shape[1])
        elif name == "output" or (network.sites.steps > 1 and noise.scale is not None):
            continue  # what comes from earlier steps has lost units that nobody saw
        same_K &= close(expected, found)
    yield AuditedProperty(key="dropout.applied", asked=[True] * count, found=same_K.tolist())


def _of_items(noise: Noise, items: int) -> Noise:
    """The masks of the first items; activations get no noise of their own."""
    scale, offset = (None if t is None else t[:, :, :items] for t in (noise.scale, noise.offset))
    inputs = None if noise.inputs is None else noise.inputs[:, :items]
    return dataclasses.replace(noise, scale=scale, offset=offset, inputs=inputs, uniform=None)


def _dropped(h: Tensor, noise: Noise, layer: int, items: int) -> Tensor:
    """A layer's output [K, rows, U] times its mask, the rows of an item alike."""
    if noise.scale is None:
        return h
    by_item = torch.unflatten(h, 1, (items, -1))
    dropped = by_item * noise.scale[layer][:, :, None, : h.shape[-1]]
    if noise.offset is not None:
        dropped = dropped + noise.offset[layer][:, :, None, : h.shape[-1]]
    return dropped.reshape(h.shape)


def close(a: Tensor, b: Tensor) -> Tensor:
    """Which members' tensors [K, ...] agree; what is not finite says nothing."""
    half = min(a.element_size(), b.element_size()) < 4
    a, b = (z.double().flatten(1) for z in (a, b))
    apart, size = (torch.linalg.vector_norm(z, dim=1) for z in (a - b, a))
    agree: Tensor = ~torch.isfinite(apart + size) | (apart <= (0.03 if half else 1e-3) * size + 1e-6)
    return agree
