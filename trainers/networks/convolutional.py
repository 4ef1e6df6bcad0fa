"""A small convolutional network for images and sequences, a stack of members at a time.

Shape letters: K members, B items, H rows, W columns, C channels, F features (H * W * C), N = B * H * W.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from search_spaces.config import Config
from search_spaces.networks import KINDS
from trainers.networks.block import Block
from trainers.networks.convolution import convolve, pooled
from trainers.networks.linear import equal_parameters, to_outputs
from trainers.networks.network import ForwardPass
from trainers.networks.stack_network import Layer, LinearMap, StackNetwork

SIDE = 3
"""Rows and columns of a kernel."""
STAGES = 3
"""The convolutions fall into at most so many equal stages, with a pooling between them."""


@dataclass(frozen=True, kw_only=True)
class Convolutional(StackNetwork):
    """Convolutions of 3 x 3, each followed by the block, with poolings between; a linear output.

    The convolutions fall into at most three stages, between which the largest of 2 x 2 places is taken; the
    output reads the mean over all places that are left. Every convolution has `width` channels (fewer if
    gated, so that the number of parameters is about the same). Its weights are [9 * C, width], with torch's
    fans: 9 * C and 9 * width. A sequence is an image of one column, with kernels of 3 and poolings of 2
    steps. With `residual`, a convolution's input is added to the block's output where both have the same
    shape.

    Batch norm's statistics are over items and places, as in torch.nn.BatchNorm2d; layer and RMS norm are over
    the channels of one place, unless the level is over the whole item. Dropout drops a channel of an
    item at all its places, as torch.nn.Dropout2d does (Tompson et al. 2015, arXiv:1411.4280): its neighbours
    would give away a single place.
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
        """The network that a config describes, for items (height, width, channels) or (steps, channels).

        Raises:
            ValueError: weights are to be symmetric, which a convolution's cannot be.
        """
        s = config.setting
        block = Block.of(config)
        if block.symmetric:
            fitting = [kind.name for kind in KINDS if kind.square_from_depth is not None]
            raise ValueError(
                "weight_constraint=symmetric needs square weights, and with setting network = 'cnn' there "
                f"are none. Allowed there: {', '.join(fitting)}"
            )
        image = shape if len(shape) == 3 else (shape[0], 1, shape[1])
        network = Convolutional(
            shape=(image[0], image[1], image[2]),
            depth=s.depth,
            width=s.width,
            n_outputs=n_outputs,
            block=block,
            residual=s.residual,
        )
        if block.maps == 1:
            return network
        widths = equal_parameters((s.width,), lambda w, maps: network.weights_and_biases(w[0], maps))
        return dataclasses.replace(network, width=widths[0])

    def weights_and_biases(self, width: int, maps: int) -> int:
        """Parameters of convolutions and output if there were `width` channels of `maps` sums each."""
        taps, channels = math.prod(self.kernel), self.shape[2]
        first, other = taps * channels + 1, taps * width + 1
        return maps * width * (first + (self.depth - 1) * other) + (width + 1) * self.n_outputs

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
        places = []
        for i in range(self.depth):
            places.append(height * width)
            if i in self.pooled_after:
                height, width = max(height // 2, 1), max(width // 2, 1)
        return tuple(places)

    @property
    def operations(self) -> tuple[str, ...]:
        height, width, _ = self.shape
        kind = "residual" if self.residual else "plain"
        return ("convolutional", f"{height}x{width}", *self.block.operations, kind)

    @property
    def item_shape(self) -> tuple[int, ...]:
        return self.shape

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        channels = (self.shape[2], *(self.width,) * self.depth, self.n_outputs)
        return tuple(
            Layer(
                maps=(LinearMap(name=f"weight{i}", inputs=inputs, reads_items=i == 0),),
                outputs=outputs,
                taps=math.prod(self.kernel) if i < self.depth else 1,
                places=self.places[i] if i < self.depth else 1,
            )
            for i, (inputs, outputs) in enumerate(itertools.pairwise(channels))
        )

    @property
    def flops(self) -> float:
        products = [h.taps * h.maps[0].inputs * h.outputs * h.places for h in self.layers[:-1]]
        return 2.0 * (self.block.maps * sum(products) + self.width * self.n_outputs)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: ForwardPass
    ) -> Tensor:
        if x.ndim == 2:  # one member is a stack of one
            rows = {name: p[None] for name, p in parameters.items()}
            running = {name: b[None] for name, b in buffers.items()}
            return self.forward(rows, running, x[None], how)[0]
        h_KBHWC = torch.unflatten(self.block.enter(x, parameters, buffers, how), -1, self.shape)
        for i, places in enumerate(self.places):
            weight = self.block.weight(f"weight{i}", parameters, how)
            z = convolve(h_KBHWC, weight, parameters.get(f"bias{i}"), self.kernel)
            z_KNC = self.block.apply(i, z.flatten(1, 3), parameters, buffers, how, places)
            z = torch.unflatten(z_KNC, 1, z.shape[1:4])
            h_KBHWC = h_KBHWC + z if self.residual and h_KBHWC.shape == z.shape else z
            if i in self.pooled_after:
                h_KBHWC = pooled(h_KBHWC)
        last = self.depth
        mean_KBC = h_KBHWC.mean((2, 3))
        z = to_outputs(mean_KBC, parameters[f"weight{last}"], parameters[f"bias{last}"])
        return how.seen("output", z)
