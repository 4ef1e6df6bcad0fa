"""A small recurrent network for sequences, one member or a stack in the same code.

Shape letters: B items, T steps, C channels, F features (T * C), G units; "..." is the members of a stack
or nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from search_spaces.config import Config
from search_spaces.normalizations import NORM_MOMENTUM
from trainers.networks.block import Block
from trainers.networks.linear import affine, equal_parameters, to_outputs
from trainers.networks.network import ForwardPass
from trainers.networks.stack_network import Layer, LinearMap, StackNetwork


@dataclass(frozen=True, kw_only=True)
class Recurrent(StackNetwork):
    """Elman layers, h_t = block(x_t W + h_{t-1} U + b) from h_0 = 0; a linear output of the last state.

    As torch.nn.RNN, which has a second bias and takes tanh or relu for the block. W and U start by the same
    initializer level, each by its own fans (torch.nn.RNN starts both by its number of units). Layers are
    stacked; an image is read row by row. With `residual`, a layer's input is added to what it hands to the
    layer above where both have the same width; the recurrence goes without. Gated layers are narrower, so
    that the number of parameters is about the same.

    Dropout drops the same units at every step, on the way up and on the way to the next step (Gal and
    Ghahramani 2016, arXiv:1512.05287); the noise of a noisy activation is the same at every step too. Batch
    norm takes the statistics of each step's sums over the batch; all steps share the running ones, into
    which a batch enters with weight `norm_momentum` in all, each of its T steps with
    1 - (1 - norm_momentum) ** (1 / T). Who watches sees the last step.
    """

    shape: tuple[int, ...]
    """(steps, channels) of an item, or (height, width, channels)."""
    sizes: tuple[int, ...]
    """Numbers of one step, units of each layer, outputs."""
    block: Block
    residual: bool

    @staticmethod
    def of(config: Config, shape: tuple[int, ...], n_outputs: int) -> Recurrent:
        """The network that a config describes, for items (steps, channels) or (height, width, channels).

        Raises:
            ValueError: weights are to be symmetric, but gated ones are not square.
        """
        s = config.setting
        block = Block.of(config)
        inputs, widths = math.prod(shape[1:]), (s.width,) * s.depth
        if block.maps > 1:
            widths = equal_parameters(
                widths, lambda w, maps: weights_and_biases((inputs, *w, n_outputs), maps)
            )
            if block.symmetric:
                raise ValueError(
                    f"weight_constraint=symmetric needs square weights: with activation={block.activation} a "
                    "recurrent layer has none"
                )
        return Recurrent(shape=shape, sizes=(inputs, *widths, n_outputs), block=block, residual=s.residual)

    @property
    def steps(self) -> int:
        """Time steps of an item."""
        return self.shape[0]

    @property
    def item_shape(self) -> tuple[int, ...]:
        return self.shape

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        layers = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(self.sizes)):
            maps = [LinearMap(name=f"weight{i}", inputs=inputs, reads_items=i == 0)]
            if i < len(self.sizes) - 2:
                maps.append(LinearMap(name=f"recurrent{i}", inputs=outputs))
            layers.append(Layer(maps=tuple(maps), outputs=outputs))
        return tuple(layers)

    @property
    def operations(self) -> tuple[str, ...]:
        kind = "residual" if self.residual else "plain"
        return ("recurrent", "x".join(map(str, self.shape)), *self.block.operations, kind)

    @property
    def flops(self) -> float:
        layers = itertools.pairwise(self.sizes[:-1])
        each_step = sum((inputs + units) * units * self.block.maps for inputs, units in layers)
        return 2.0 * (self.steps * each_step + self.sizes[-2] * self.sizes[-1])

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: ForwardPass
    ) -> Tensor:
        entered = self.block.enter(x, parameters, buffers, how)
        below = torch.unflatten(entered, -1, (self.steps, -1)).transpose(-2, -3)  # [..., T, B, C]
        last = self._of_a_step(how)
        earlier = dataclasses.replace(last, watch=None)
        for i in range(self.hidden):
            # What the inputs of all steps push is one product; only the way from step to step is a chain.
            pushed = affine(
                below.flatten(-3, -2),
                self.block.weight(f"weight{i}", parameters, how),
                parameters.get(f"bias{i}"),
            )
            recurrent = self.block.weight(f"recurrent{i}", parameters, how)
            states: list[Tensor] = []
            for t, sums in enumerate(torch.unflatten(pushed, -2, (self.steps, -1)).unbind(-3)):
                z = affine(states[-1], recurrent, sums) if states else sums
                now = last if t == self.steps - 1 else earlier
                if how.averaged is not None:
                    now = dataclasses.replace(now, averaged=how.averaged * self.steps + t)
                states.append(self.block.apply(i, z, parameters, buffers, now))
            above = torch.stack(states, -3)
            below = below + above if self.residual and below.shape == above.shape else above
        state = below.select(-3, self.steps - 1)
        return how.seen(
            "output", to_outputs(state, parameters[f"weight{self.hidden}"], parameters[f"bias{self.hidden}"])
        )

    def _of_a_step(self, how: ForwardPass) -> ForwardPass:
        """`how`, with what a step adds to running statistics and with the draws of noise made once."""
        momentum = how.numbers.get("norm_momentum", NORM_MOMENTUM.default)
        numbers = {**how.numbers, "norm_momentum": 1 - (1 - momentum) ** (1 / self.steps)}
        noise = how.noise
        if noise.uniform is not None:
            noise = dataclasses.replace(noise, uniform=functools.cache(noise.uniform))
        return dataclasses.replace(how, numbers=numbers, noise=noise)


def weights_and_biases(sizes: Sequence[int], maps: int) -> int:
    """Parameters of recurrent layers, whose units take `maps` sums each, and of the linear output."""
    hidden = sum((inputs + units + 1) * units for inputs, units in itertools.pairwise(sizes[:-1]))
    return maps * hidden + (sizes[-2] + 1) * sizes[-1]
