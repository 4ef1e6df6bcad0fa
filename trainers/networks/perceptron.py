"""The multilayer perceptron, one member or a stack in the same code.

Shape letters: B items, F features, C outputs; "..." is the members of a stack or nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from search_spaces.config import Config
from trainers.networks.block import Block
from trainers.networks.linear import affine, equal_parameters, to_outputs
from trainers.networks.network import ForwardPass
from trainers.networks.stack_network import Layer, LinearMap, StackNetwork


@dataclass(frozen=True, kw_only=True)
class Perceptron(StackNetwork):
    """Hidden layers of linear map and block; then a linear output.

    With `residual`, a hidden layer's input is added to its output where both have the same width.
    """

    sizes: tuple[int, ...]
    """Inputs, hidden widths, outputs."""
    block: Block
    residual: bool

    @staticmethod
    def of(config: Config, n_inputs: int, n_outputs: int) -> Perceptron:
        """The perceptron that a config describes.

        Gated layers are narrower, so that the network has about as many parameters as without gates.

        Raises:
            ValueError: weights are to be symmetric, but none that leads into a hidden layer is square.
        """
        s = config.setting
        widths = funnel(s.width, s.depth, n_outputs) if s.funnel else (s.width,) * s.depth
        block = Block.of(config)
        if block.maps > 1:
            widths = equal_parameters(
                widths, lambda w, maps: weights_and_biases((n_inputs, *w, n_outputs), maps)
            )
        sizes = (n_inputs, *widths, n_outputs)
        square = block.maps == 1 and any(a == b for a, b in itertools.pairwise(sizes[:-1]))
        if block.symmetric and not square:
            raise ValueError(
                f"weight_constraint=symmetric needs a square weight: hidden layers of width {widths} on "
                f"{n_inputs} inputs with activation={block.activation} have none"
            )
        return Perceptron(sizes=sizes, block=block, residual=s.residual)

    @property
    def item_shape(self) -> tuple[int, ...]:
        return self.sizes[:1]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(
            Layer(maps=(LinearMap(name=f"weight{i}", inputs=inputs, reads_items=i == 0),), outputs=outputs)
            for i, (inputs, outputs) in enumerate(itertools.pairwise(self.sizes))
        )

    @property
    def operations(self) -> tuple[str, ...]:
        return ("perceptron", *self.block.operations, "residual" if self.residual else "plain")

    @property
    def flops(self) -> float:
        return 2.0 * sum(s.size for s in self.parameters.segments)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: ForwardPass
    ) -> Tensor:
        h = self.block.enter(x, parameters, buffers, how)
        for i in range(self.hidden):
            z = affine(h, self.block.weight(f"weight{i}", parameters, how), parameters.get(f"bias{i}"))
            z = self.block.apply(i, z, parameters, buffers, how)
            h = h + z if self.residual and h.shape == z.shape else z
        last = self.hidden
        return how.seen("output", to_outputs(h, parameters[f"weight{last}"], parameters[f"bias{last}"]))


def weights_and_biases(sizes: Sequence[int], maps: int) -> int:
    """Parameters of the linear maps between inputs, hidden layers and outputs.

    Every hidden unit takes `maps` sums, and an output one.
    """
    *hidden, last = ((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(sizes))
    return maps * sum(hidden) + last


def funnel(width: int, depth: int, n_outputs: int) -> tuple[int, ...]:
    """Hidden widths that shrink by equal ratios from `width` to about twice the outputs."""
    end = min(width, max(2 * n_outputs, 2))
    shares = np.linspace(0.0, 1.0, depth) if depth > 1 else np.zeros(1)
    return tuple(round(width * (end / width) ** share) for share in shares)
