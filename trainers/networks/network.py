"""What the trainer asks of a network, and what one forward pass is told.

Shape letters: B items, F features, C outputs; "..." is the members of a stack or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from search_spaces.config import Config
from trainers.layout import Layout
from trainers.randomness import StreamKey

Mask = Callable[[int], Tensor | None]
"""Hidden layer number -> dropout mask [..., B, width] already scaled by 1 / (1 - p), or None."""

Watch = Callable[[str, Tensor], Tensor]
"""(name, tensor) -> the tensor to go on with: a tap on what flows through a network."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one forward pass needs besides parameters and items."""

    training: bool
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    """Per-member numbers of activations and norms, [..., 1, 1]."""
    mask: Mask = lambda layer: None
    seeds: Sequence[int] | None = None
    """What each member's own module sets torch's generator to; None leaves it alone."""
    watch: Watch | None = None
    """Called with every hidden layer's "sum{i}" (of the linear map), "hidden{i}" (what the layer gives
    on) and the "output"."""

    def seen(self, name: str, z: Tensor) -> Tensor:
        """`z`, after whoever watches has seen it."""
        return z if self.watch is None else self.watch(name, z)


class Network(Protocol):
    """What the trainer asks of a network: where its tensors lie, how they start, what it computes."""

    @property
    def parameters(self) -> Layout: ...

    @property
    def buffers(self) -> Layout: ...

    @property
    def masked_layers(self) -> int:
        """How many layers ask `Pass.mask`, each `width` wide."""
        ...

    @property
    def operations(self) -> tuple[str, ...]:
        """The graph in words: members whose words and shapes agree can share a pack."""
        ...

    @property
    def flops(self) -> float:
        """Floating-point operations of one item's forward pass."""
        ...

    @property
    def elements(self) -> int:
        """Numbers that the hidden layers give on for one item, all places and time steps counted."""
        ...

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """One member's flat parameters and buffers at step 0, float64 on the CPU."""
        ...

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: Pass
    ) -> Tensor:
        """Outputs [..., B, C] of items x [..., B, F]; updates running statistics when training."""
        ...
