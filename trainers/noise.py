"""Dropout bits: drawn per member and epoch from its own counter-based generator.

A member's bits are the same alone and in any company, and independent of how they are chunked.
Shape letters: K members, L layers, B items, W units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.member import Member

CHUNK_BYTES = 1 << 20
"""Bits of one member held at a time."""


class DropoutNoise:
    """Scaled keep masks [K, B, W] for every step and hidden layer (inverted dropout)."""

    def __init__(
        self,
        members: Sequence[Member],
        rates: Sequence[float],
        *,
        layers: int,
        items: int,
        width: int,
        steps_per_epoch: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self._streams = [m.streams for m in members]
        self._rates = np.asarray(rates, dtype=np.float64)
        self._shape = (layers, items, width)
        self._words = -(-layers * items * width // 4)
        self._per_epoch = steps_per_epoch
        self._chunk = max(1, min(steps_per_epoch, CHUNK_BYTES // (8 * self._words)))
        self._dtype, self._device = dtype, device
        kept = (slice(None), *(None,) * 3)
        self._threshold = np.round(self._rates * 65536)[kept].astype(np.uint32)
        self._scale = (1.0 / (1.0 - self._rates))[kept]
        self._generators: list[np.random.Philox | None] = []
        self._bits: NDArray[np.uint16] = np.empty((0, 0, 0), dtype=np.uint16)

    def masks(self, step: int) -> Tensor:
        """All layers' masks [L, K, B, W] of the 0-based step; steps are asked for in order."""
        epoch, place = divmod(step, self._per_epoch)
        if place == 0:
            self._generators = [
                s.bits("dropout", epoch) if p else None
                for s, p in zip(self._streams, self._rates, strict=True)
            ]
        if place % self._chunk == 0:
            self._draw(min(self._chunk, self._per_epoch - place))
        count = int(np.prod(self._shape))
        bits = self._bits[:, place % self._chunk, :count].reshape(-1, *self._shape)
        masks = (bits >= self._threshold) * self._scale
        return torch.from_numpy(masks).to(self._device, self._dtype).transpose(0, 1)

    def _draw(self, steps: int) -> None:
        """The next `steps` steps of every member; a member without dropout keeps everything."""
        self._bits = np.full((len(self._rates), steps, 4 * self._words), 65535, dtype=np.uint16)
        for row, generator in zip(self._bits, self._generators, strict=True):
            if generator is not None:
                row[:] = generator.random_raw(steps * self._words).view(np.uint16).reshape(steps, -1)
