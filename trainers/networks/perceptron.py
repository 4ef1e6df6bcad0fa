"""The multilayer perceptron, one member or a stack in the same code.

Shape letters: B items, F features, C outputs; "..." is the members of a stack or nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.config import Config
from search_spaces.initializers import INITIALIZER
from trainers.layout import Layout
from trainers.networks.block import Block, Shapes
from trainers.networks.linear import affine, drawn, filled, weight_gain
from trainers.networks.network import Pass
from trainers.randomness import StreamKey


@dataclass(frozen=True, kw_only=True)
class Perceptron:
    """Hidden layers of linear map and block; then a linear output.

    With `residual`, a hidden layer's input is added to its output where both have the same width.
    """

    sizes: tuple[int, ...]
    """Inputs, hidden widths, outputs."""
    block: Block
    residual: bool

    @staticmethod
    def of(config: Config, n_inputs: int, n_outputs: int) -> Perceptron:
        """The perceptron that a config describes."""
        s = config.setting
        widths = funnel(s.width, s.depth, n_outputs) if s.funnel else (s.width,) * s.depth
        return Perceptron(sizes=(n_inputs, *widths, n_outputs), block=Block.of(config), residual=s.residual)

    @property
    def masked_layers(self) -> int:
        return len(self.sizes) - 2

    @property
    def operations(self) -> tuple[str, ...]:
        return ("perceptron", *self.block.words, "residual" if self.residual else "plain")

    @property
    def parameters(self) -> Layout:
        tensors: Shapes = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(self.sizes)):
            tensors[f"weight{i}"] = ((fan_in, fan_out), "weight")
            tensors[f"bias{i}"] = ((1, fan_out), "bias")
            if i < self.masked_layers:
                tensors |= self.block.parameters(i, fan_out)
        return Layout.of(tensors)

    @property
    def buffers(self) -> Layout:
        tensors: Shapes = {}
        for i, width in enumerate(self.sizes[1:-1]):
            tensors |= self.block.buffers(i, width)
        return Layout.of(tensors)

    @property
    def flops(self) -> float:
        return 2.0 * sum(s.size for s in self.parameters.segments)

    @property
    def elements(self) -> int:
        return sum(self.sizes[1:-1])

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """Layers draw in order from the member's own 'weights' stream; levels share its numbers."""
        initializer = INITIALIZER.level(config.levels["initializer"]).build
        gain = weight_gain(initializer, config)
        draws = streams.stream("weights")
        values: dict[str, NDArray[np.float64]] = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(self.sizes)):
            weight, bias = drawn(initializer, fan_in, fan_out, draws)
            values[f"weight{i}"], values[f"bias{i}"] = gain * weight, bias
            values |= self.block.start(i, fan_out)
        return filled(self.parameters, values), filled(self.buffers, values)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: Pass
    ) -> Tensor:
        h = x
        for i in range(self.masked_layers):
            z = affine(h, parameters[f"weight{i}"], parameters[f"bias{i}"])
            z = self.block.apply(i, z, parameters, buffers, how)
            h = h + z if self.residual and h.shape == z.shape else z
        last = self.masked_layers
        return how.seen("output", affine(h, parameters[f"weight{last}"], parameters[f"bias{last}"]))


def funnel(width: int, depth: int, n_outputs: int) -> tuple[int, ...]:
    """Hidden widths that shrink by equal ratios from `width` to about twice the outputs."""
    end = min(width, max(2 * n_outputs, 2))
    shares = np.linspace(0.0, 1.0, depth) if depth > 1 else np.zeros(1)
    return tuple(round(width * (end / width) ** share) for share in shares)
