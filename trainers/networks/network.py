"""What the trainer needs of a network, and the arguments of one forward pass.

Shape letters: B items, N rows (items, or items times places), F features, C outputs; "..." is the
members of a stack or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from search_spaces.config import Config
from trainers.randomness import StreamKey
from trainers.tensors.layout import Layout

Watch = Callable[[str, Tensor], Tensor]
"""(name, tensor) -> the tensor to go on with: a tap on what flows through a network."""


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Where noise can act in a network: what one member's training step may have to draw."""

    layers: int = 0
    """Hidden layers."""
    width: int = 0
    """Units (channels) of the widest of them."""
    places: int = 1
    """Places that a hidden layer computes for an item, at most: 1, or those of an image."""
    inputs: int = 0
    """Values of an item."""
    weights: tuple[str, ...] = ()
    """Names of the parameters that multiply what comes into hidden layers."""
    steps: int = 1
    """Time steps that a hidden layer takes one after the other, each from the state before."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The random draws of one training step; none by default, and in evaluation."""

    scale: Tensor | None = None
    """What multiplies hidden activations, [layers, ..., B, width]: 0 where a unit is dropped."""
    offset: Tensor | None = None
    """What is added after that, of the same shape."""
    inputs: Tensor | None = None
    """What multiplies the values of items, [..., B, F]."""
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """What multiplies a weight, by its name."""
    uniform: Callable[[int], Tensor] | None = None
    """Hidden layer number -> numbers in [0, 1), [..., N, width], for activations that are noisy."""


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """What one forward pass needs besides parameters and items."""

    training: bool
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    """Per-member numbers of activations and norms, [..., 1, 1]."""
    noise: Noise = field(default_factory=Noise)
    averaged: int | None = None
    """How many batches the running statistics are the plain average of, this one to be added; None: they
    move by `norm_momentum`, as in training."""
    seeds: Sequence[int] | None = None
    """What each member's own module sets torch's generator to; None leaves it alone."""
    watch: Watch | None = None
    """Called with every hidden layer's "sum{i}" (of the linear map), "hidden{i}" (what the layer gives
    on) and the "output"."""

    def seen(self, name: str, z: Tensor) -> Tensor:
        """`z`, or what the watch returns in its place."""
        return z if self.watch is None else self.watch(name, z)


class Network(Protocol):
    """What the trainer needs of a network: the layout of its tensors, their start, its forward pass."""

    @property
    def parameters(self) -> Layout: ...

    @property
    def buffers(self) -> Layout: ...

    @property
    def sites(self) -> Sites: ...

    @property
    def operations(self) -> tuple[str, ...]:
        """The graph in words: members with equal words and shapes can share a pack."""
        ...

    @property
    def flops(self) -> float:
        """Floating-point operations of one item's forward pass."""
        ...

    @property
    def elements(self) -> int:
        """Sums that the hidden layers compute for one item, at all its places or time steps."""
        ...

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """One member's flat parameters and buffers at step 0, float64 on the CPU."""
        ...

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: ForwardPass
    ) -> Tensor:
        """Outputs [..., B, C] of items x [..., B, F]; updates running statistics when training."""
        ...
