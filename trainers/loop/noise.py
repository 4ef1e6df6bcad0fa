"""What training draws at every step: dropout masks and the noise of activations, each member its own.

A member's numbers come from its own counter-based generator, opened again every epoch; they are the same
alone and in any company, and independent of how they are chunked.
Shape letters: K members, L hidden layers, B items, N rows (items times places), U units, F input values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.dropout import DROPOUT, GRID, SELU_LIMIT, Dropout
from trainers.member import Member
from trainers.networks import Network, Noise
from trainers.randomness import StreamKey

CHUNK_BYTES = 1 << 20
"""Drawn numbers of a pack held at a time, where a step needs no more: few enough to stay in a cache."""

Shape = tuple[int, ...]
Floats = NDArray[np.float64]
Rows = slice | NDArray[np.int64]
"""Which members of a pack are drawn for."""


class RandomDraws:
    """Random 16-bit numbers of one purpose, the same shape at every step."""

    def __init__(
        self,
        streams: Sequence[StreamKey | None],
        *,
        purpose: str,
        shape: Shape,
        steps_per_epoch: int,
    ):
        """`streams` has None for a member that draws nothing; it gets the largest number everywhere."""
        self._streams, self._purpose, self._shape = streams, purpose, shape
        self._words = -(-math.prod(shape) // 4)
        self._per_epoch = steps_per_epoch
        of_a_step = 8 * self._words * len(streams)
        self._chunk = max(1, min(steps_per_epoch, CHUNK_BYTES // of_a_step))
        self._generators: list[np.random.Philox | None] = []
        self._bits = np.full((len(streams), self._chunk, 4 * self._words), GRID - 1, dtype=np.uint16)

    def at(self, step: int, rows: Rows) -> NDArray[np.uint16]:
        """Numbers [S, *shape] of the 0-based step, of those members; they hold until the next step's.

        Steps must be drawn in order.
        """
        epoch, place = divmod(step, self._per_epoch)
        if place == 0:
            self._generators = [None if s is None else s.bits(self._purpose, epoch) for s in self._streams]
        if place % self._chunk == 0:
            self._draw(min(self._chunk, self._per_epoch - place))
        count = math.prod(self._shape)
        return self._bits[rows, place % self._chunk, :count].reshape(-1, *self._shape)

    def _draw(self, steps: int) -> None:
        for row, generator in zip(self._bits, self._generators, strict=True):
            if generator is not None:
                row[:steps] = generator.random_raw(steps * self._words).view(np.uint16).reshape(steps, -1)


class DropoutMasks:
    """Masks: 0 where something is dropped, 1 / (1 - rate) elsewhere (inverted dropout)."""

    def __init__(self, draws: RandomDraws, rates: Floats, *, dtype: torch.dtype, device: torch.device):
        """`rates` [K, ...] broadcasts against what `draws` gives."""
        self._draws = draws
        self._threshold = _thresholds(rates)
        self._scale = torch.from_numpy(1.0 / (1.0 - rates)).to(device, dtype)

    def at(self, step: int, rows: Rows) -> Tensor:
        """Of the shape of the draws, of those members."""
        survives = self._draws.at(step, rows) >= self._threshold[rows]
        # As small integers: torch turns those into floats nine times faster than booleans.
        masks = torch.from_numpy(survives.view(np.int8)).to(self._scale.device, self._scale.dtype)
        return masks.mul_(self._scale[rows])


def _thresholds(rates: Floats) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """The smallest drawn number that is kept; of the draws' own type unless a member drops everything."""
    thresholds = np.round(rates * GRID).astype(np.uint32)
    return thresholds.astype(np.uint16) if thresholds.max() < GRID else thresholds


class Saturated:
    """Alpha dropout: what is dropped becomes SELU's limit, then mean 0 and variance 1 are restored.

    With q = 1 - rate and limit l: a * (x * keep + l * (1 - keep)) + b, where a = (q (1 + rate l^2))^-1/2 and
    b = -a * rate * l, as torch.nn.AlphaDropout does. A member without it keeps inverted dropout.
    """

    def __init__(self, draws: RandomDraws, rates: Floats, alpha: NDArray[np.bool_]):
        """`rates` and `alpha` (which members have it) broadcast against what `draws` gives."""
        self._draws, self._alpha = draws, alpha
        self._threshold = _thresholds(rates)
        a = ((1 - rates) * (1 + rates * SELU_LIMIT**2)) ** -0.5
        self._scale = np.where(alpha, a, 1.0 / (1.0 - rates))
        self._kept_offset = np.where(alpha, -a * rates * SELU_LIMIT, 0.0)
        self._dropped_offset = np.where(alpha, a * SELU_LIMIT * (1 - rates), 0.0)

    def at(self, step: int, rows: Rows) -> tuple[Floats, Floats]:
        """What activations of those members are multiplied by and what is added to them."""
        keep = self._draws.at(step, rows) >= self._threshold[rows]
        offset = np.where(keep, self._kept_offset[rows], self._dropped_offset[rows])
        return np.where(keep, self._scale[rows], 0.0), offset


class NoiseSource:
    """Everything that the members of one pack draw at a step, given their levels and rates."""

    def __init__(
        self,
        members: Sequence[Member],
        network: Network,
        *,
        items: int,
        steps_per_epoch: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self._members, self._network, self._per_epoch = members, network, steps_per_epoch
        self._dtype, self._device = dtype, device
        self._dropouts: list[Dropout] = [DROPOUT.level(m.config.levels["dropout"]).build for m in members]
        self._rates = [m.config.numbers.get("dropout_rate", 0.0) for m in members]
        sites = network.sites
        self._units = self._of_units((sites.layers, items, sites.width))
        self._inputs = self._of_inputs((items, sites.inputs))
        self._shapes = {s.name: s.shape for s in network.parameters.segments if s.name in sites.weights}
        self._weights = self._of_weights(sum(math.prod(shape) for shape in self._shapes.values()))
        noisy = ACTIVATION.level(members[0].config.levels["activation"]).build.noisy and sites.layers > 0
        rows = (sites.layers, items * sites.places, sites.width)
        all_members = [True] * len(members)
        self._uniform = self._draws(all_members, "activation", rows) if noisy else None

    def at(self, step: int, rows_S: Tensor | None = None) -> Noise:
        """The noise of the 0-based step, of those members alone; steps must be drawn in order."""
        rows: Rows = slice(None) if rows_S is None else rows_S.cpu().numpy()
        scale = offset = None
        if isinstance(self._units, Saturated):
            scale, offset = (self._tensor(values).transpose(0, 1) for values in self._units.at(step, rows))
        elif self._units is not None:
            scale = self._units.at(step, rows).transpose(0, 1)
        inputs = None if self._inputs is None else self._inputs.at(step, rows)
        weights = {} if self._weights is None else self._by_name(self._weights.at(step, rows))
        uniform = None
        if self._uniform is not None:
            bits = self._uniform.at(step, rows)

            def uniform(layer: int) -> Tensor:
                return self._tensor((bits[:, layer] + 0.5) / GRID)

        return Noise(scale=scale, offset=offset, inputs=inputs, weights=weights, uniform=uniform)

    def _draws(self, wanted: Sequence[bool], purpose: str, shape: Shape) -> RandomDraws:
        streams = [m.streams if want else None for m, want in zip(self._members, wanted, strict=True)]
        return RandomDraws(streams, purpose=purpose, shape=shape, steps_per_epoch=self._per_epoch)

    def _of_units(self, shape: Shape) -> DropoutMasks | Saturated | None:
        """Masks of hidden units [K, L, B, U]."""
        rates = np.array(
            [d.rates(rate, shape[0]) for d, rate in zip(self._dropouts, self._rates, strict=True)]
        )
        if not rates.any():
            return None
        draws = self._draws([bool(own.any()) for own in rates], "dropout", shape)
        alpha = np.array([d.saturates for d in self._dropouts])[:, None, None, None]
        by_layer = rates[:, :, None, None]
        return Saturated(draws, by_layer, alpha) if alpha.any() else self._kept(draws, by_layer)

    def _of_inputs(self, shape: Shape) -> DropoutMasks | None:
        """Masks of the values of items [K, B, F]."""
        rates = [rate * d.inputs for d, rate in zip(self._dropouts, self._rates, strict=True)]
        if not any(rates) or not shape[-1]:
            return None
        draws = self._draws([rate > 0 for rate in rates], "dropout_inputs", shape)
        return self._kept(draws, np.array(rates)[:, None, None])

    def _of_weights(self, count: int) -> DropoutMasks | None:
        """Masks of all hidden weights, one after the other [K, count]."""
        rates = [rate * d.weights for d, rate in zip(self._dropouts, self._rates, strict=True)]
        if not any(rates) or not count:
            return None
        draws = self._draws([rate > 0 for rate in rates], "dropconnect", (count,))
        return self._kept(draws, np.array(rates)[:, None])

    def _kept(self, draws: RandomDraws, rates: Floats) -> DropoutMasks:
        return DropoutMasks(draws, rates, dtype=self._dtype, device=self._device)

    def _tensor(self, values: Floats) -> Tensor:
        return torch.from_numpy(values).to(self._device, self._dtype)

    def _by_name(self, flat: Tensor) -> Mapping[str, Tensor]:
        """Each weight's part [K, *shape] of the masks of all."""
        ends = itertools.accumulate(math.prod(shape) for shape in self._shapes.values())
        return {
            name: flat[:, end - math.prod(shape) : end].reshape(-1, *shape)
            for (name, shape), end in zip(self._shapes.items(), ends, strict=True)
        }
