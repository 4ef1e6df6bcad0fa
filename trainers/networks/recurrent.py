"""A small recurrent network for sequences, one member or a stack in the same code.

Shape letters: B items, T steps, C channels, F features (T * C), G units; "..." is the members of a stack
or nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
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
class Recurrent:
    """Stacked Elman layers, h_t = block(x_t W + h_{t-1} U + b) from h_0 = 0; the last layer's last state
    goes through a linear output.

    As torch.nn.RNN, which has a second bias and takes tanh or relu for the block. W and U start by the same
    initializer level, each by its own fans (torch.nn.RNN starts both by its number of units). An image is
    read row by row. With `residual`, a layer's input is added to what it hands to the layer above where both
    have the same width; the recurrence goes without. Dropout drops the same units at every step, on the
    way up and on the way to the next step (Gal and Ghahramani 2016, arXiv:1512.05287). Batch norm takes the
    statistics of each step's sums over the batch; all steps share the running ones, into which a batch
    enters with weight `norm_momentum` in all, each of its T steps with 1 - (1 - norm_momentum) ** (1 / T).
    Who watches sees the last step.
    """

    steps: int
    sizes: tuple[int, ...]
    """Channels, units of each layer, outputs."""
    block: Block
    residual: bool

    @staticmethod
    def of(config: Config, shape: tuple[int, ...], n_outputs: int) -> Recurrent:
        """The network that a config describes, for items (steps, channels) or (height, width, channels)."""
        s = config.setting
        channels = int(np.prod(shape[1:]))
        return Recurrent(
            steps=shape[0],
            sizes=(channels, *(s.width,) * s.depth, n_outputs),
            block=Block.of(config),
            residual=s.residual,
        )

    @property
    def masked_layers(self) -> int:
        return len(self.sizes) - 2

    @property
    def operations(self) -> tuple[str, ...]:
        kind = "residual" if self.residual else "plain"
        return ("recurrent", str(self.steps), *self.block.words, kind)

    @property
    def parameters(self) -> Layout:
        tensors: Shapes = {}
        for i, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            tensors[f"weight{i}"] = ((inputs, outputs), "weight")
            if i < self.masked_layers:
                tensors[f"recurrent{i}"] = ((outputs, outputs), "weight")
            tensors[f"bias{i}"] = ((1, outputs), "bias")
            if i < self.masked_layers:
                tensors |= self.block.parameters(i, outputs)
        return Layout.of(tensors)

    @property
    def buffers(self) -> Layout:
        tensors: Shapes = {}
        for i in range(self.masked_layers):
            tensors |= self.block.buffers(i, self.sizes[i + 1])
        return Layout.of(tensors)

    @property
    def flops(self) -> float:
        layers = zip(self.sizes[:-2], self.sizes[1:-1], strict=True)
        each_step = sum((inputs + units) * units for inputs, units in layers)
        return 2.0 * (self.steps * each_step + self.sizes[-2] * self.sizes[-1])

    @property
    def elements(self) -> int:
        return self.steps * sum(self.sizes[1:-1])

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """Layers draw in order from the member's own 'weights' stream; levels share its numbers."""
        initializer = INITIALIZER.level(config.levels["initializer"]).build
        gain = weight_gain(initializer, config)
        draws = streams.stream("weights")
        values: dict[str, NDArray[np.float64]] = {}
        for i, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            weight, bias = drawn(initializer, inputs, outputs, draws)
            values[f"weight{i}"], values[f"bias{i}"] = gain * weight, bias
            if i < self.masked_layers:
                recurrent, _ = drawn(initializer, outputs, outputs, draws)
                values[f"recurrent{i}"] = gain * recurrent
            values |= self.block.start(i, outputs)
        return filled(self.parameters, values), filled(self.buffers, values)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: Pass
    ) -> Tensor:
        how = self._shared(how)
        quiet = dataclasses.replace(how, watch=None)
        below = x.unflatten(-1, (self.steps, -1)).transpose(-2, -3)  # [..., T, B, C]
        for i in range(self.masked_layers):
            # What the inputs of all steps push is one product; only the way from step to step is a chain.
            pushed = affine(below.flatten(-3, -2), parameters[f"weight{i}"], parameters[f"bias{i}"])
            states: list[Tensor] = []
            for t, sums in enumerate(pushed.unflatten(-2, (self.steps, -1)).unbind(-3)):
                z = affine(states[-1], parameters[f"recurrent{i}"], sums) if states else sums
                last = t == self.steps - 1
                states.append(self.block.apply(i, z, parameters, buffers, how if last else quiet))
            above = torch.stack(states, -3)
            below = below + above if self.residual and below.shape == above.shape else above
        end = self.masked_layers
        state = below.select(-3, self.steps - 1)
        return how.seen("output", affine(state, parameters[f"weight{end}"], parameters[f"bias{end}"]))

    def _shared(self, how: Pass) -> Pass:
        """`how`, with each mask made once and each step's share of the weight of a batch's statistics."""
        masks = {i: how.mask(i) for i in range(self.masked_layers)}
        numbers = dict(how.numbers)
        if "norm_momentum" in numbers:
            numbers["norm_momentum"] = 1 - (1 - numbers["norm_momentum"]) ** (1 / self.steps)
        return dataclasses.replace(how, mask=masks.__getitem__, numbers=numbers)
