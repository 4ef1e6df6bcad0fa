"""A small convolutional network for images and sequences, a stack of members at a time.

Shape letters: K members, B items, H rows, W columns, C channels, F features (H * W * C), N = B * H * W.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.config import Config
from search_spaces.initializers import INITIALIZER
from trainers.layout import Layout
from trainers.networks.block import Block, Shapes
from trainers.networks.convolution import convolve, pooled
from trainers.networks.linear import affine, drawn, filled, weight_gain
from trainers.networks.network import Pass
from trainers.randomness import StreamKey

SIDE = 3
"""Rows and columns of a kernel."""
STAGES = 3
"""The convolutions fall into at most so many equal stages, with a pooling between them."""


@dataclass(frozen=True, kw_only=True)
class Convolutional:
    """Convolutions of 3 x 3, each followed by the block; a maximum over 2 x 2 between stages; the mean
    over all places that are left; then a linear output.

    Every convolution has `width` channels. Its weights are [9 * C, width], with torch's fans: 9 * C and
    9 * width. A sequence is an image of one column, with kernels of 3 and poolings of 2 steps. With
    `residual`, a convolution's input is added to the block's output where both have the same shape. The
    statistics of batch norm are over items and places, as in torch.nn.BatchNorm2d; layer and RMS norm are
    over the channels of one place. Dropout drops a channel of an item at all its places, as
    torch.nn.Dropout2d does (Tompson et al. 2015, arXiv:1411.4280): neighbours would give away a single one.
    """

    shape: tuple[int, int, int]
    """Rows, columns and channels of an item."""
    depth: int
    width: int
    n_outputs: int
    block: Block
    residual: bool

    @staticmethod
    def of(config: Config, shape: tuple[int, ...], n_outputs: int) -> Convolutional:
        """The network that a config describes, for items (height, width, channels) or (steps, channels)."""
        s = config.setting
        height, width, channels = shape if len(shape) == 3 else (shape[0], 1, shape[1])
        return Convolutional(
            shape=(height, width, channels),
            depth=s.depth,
            width=s.width,
            n_outputs=n_outputs,
            block=Block.of(config),
            residual=s.residual,
        )

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of every kernel: 1 along an axis of one place."""
        height, width, _ = self.shape
        return (SIDE if height > 1 else 1, SIDE if width > 1 else 1)

    @property
    def pooled_after(self) -> frozenset[int]:
        """Numbers of the convolutions that end a stage which is not the last."""
        stages = min(STAGES, self.depth)
        return frozenset(round(self.depth * stage / stages) - 1 for stage in range(1, stages))

    @property
    def places(self) -> tuple[int, ...]:
        """Rows times columns of each convolution's output."""
        height, width, _ = self.shape
        found = []
        for i in range(self.depth):
            found.append(height * width)
            if i in self.pooled_after:
                height, width = max(height // 2, 1), max(width // 2, 1)
        return tuple(found)

    @property
    def masked_layers(self) -> int:
        return self.depth

    @property
    def operations(self) -> tuple[str, ...]:
        height, width, _ = self.shape
        kind = "residual" if self.residual else "plain"
        return ("convolutional", f"{height}x{width}", *self.block.words, kind)

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """Channels in and out of each convolution; then inputs and outputs of the linear map."""
        channels = (self.shape[2], *(self.width,) * self.depth, self.n_outputs)
        return tuple(itertools.pairwise(channels))

    @property
    def parameters(self) -> Layout:
        tensors: Shapes = {}
        for i, (channels, outputs) in enumerate(self.maps):
            rows = channels * (math.prod(self.kernel) if i < self.depth else 1)
            tensors[f"weight{i}"] = ((rows, outputs), "weight")
            tensors[f"bias{i}"] = ((1, outputs), "bias")
            if i < self.depth:
                tensors |= self.block.parameters(i, outputs)
        return Layout.of(tensors)

    @property
    def buffers(self) -> Layout:
        tensors: Shapes = {}
        for i in range(self.depth):
            tensors |= self.block.buffers(i, self.width)
        return Layout.of(tensors)

    @property
    def flops(self) -> float:
        taps = math.prod(self.kernel)
        products = [taps * a * b * p for (a, b), p in zip(self.maps, (*self.places, 0), strict=True)]
        return 2.0 * (sum(products) + self.width * self.n_outputs)

    @property
    def elements(self) -> int:
        return sum(self.places) * self.width

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """Layers draw in order from the member's own 'weights' stream; levels share its numbers."""
        initializer = INITIALIZER.level(config.levels["initializer"]).build
        gain = weight_gain(initializer, config)
        draws = streams.stream("weights")
        values: dict[str, NDArray[np.float64]] = {}
        for i, (channels, outputs) in enumerate(self.maps):
            taps = math.prod(self.kernel) if i < self.depth else 1
            weight, bias = drawn(initializer, taps * channels, taps * outputs, draws, columns=outputs)
            values[f"weight{i}"], values[f"bias{i}"] = gain * weight, bias
            values |= self.block.start(i, outputs)
        return filled(self.parameters, values), filled(self.buffers, values)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: Pass
    ) -> Tensor:
        if x.ndim == 2:  # one member is a stack of one
            rows = {name: p[None] for name, p in parameters.items()}
            running = {name: b[None] for name, b in buffers.items()}
            return self.forward(rows, running, x[None], how)[0]
        h_KBHWC = x.unflatten(-1, self.shape)
        for i in range(self.depth):
            z = convolve(h_KBHWC, parameters[f"weight{i}"], parameters[f"bias{i}"], self.kernel)
            z_KNC = self.block.apply(
                i, z.flatten(1, 3), parameters, buffers, at_every_place(how, self.places[i])
            )
            z = z_KNC.view(z.shape)
            h_KBHWC = h_KBHWC + z if self.residual and h_KBHWC.shape == z.shape else z
            if i in self.pooled_after:
                h_KBHWC = pooled(h_KBHWC)
        last = self.depth
        features_KBC = h_KBHWC.mean((2, 3))
        return how.seen("output", affine(features_KBC, parameters[f"weight{last}"], parameters[f"bias{last}"]))


def at_every_place(how: Pass, places: int) -> Pass:
    """`how`, with an item's mask at each of its places: [..., B, C] becomes [..., B * places, C]."""

    def mask(layer: int) -> Tensor | None:
        m = how.mask(layer)
        return None if m is None else m.repeat_interleave(places, dim=-2)

    return dataclasses.replace(how, mask=mask)
