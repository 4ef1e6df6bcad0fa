"""What an update rule is: how gradients become a step, for one member or a stack.

Shape letters: P flat parameters of a member; "..." is the members of a stack or nothing. Numbers
are floats or tensors [..., 1] that broadcast against params [..., P]. Each rule equals its
torch.optim namesake; decay of weights is not its business (see regularizers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from search_spaces.parts import TensorSpan

Number = Tensor | float

State = dict[str, Tensor]
"""Buffer name -> tensor [..., P]."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The arguments of one step of a rule."""

    number: int
    """Counted from 1."""
    learning_rate: Number
    numbers: Mapping[str, Number] = field(default_factory=dict)
    """The rule's own, by name."""
    parts: Sequence[TensorSpan] = ()
    """The tensors in a row of params, for rules that treat a matrix as one."""
    sizes: Tensor | None = None
    """What `UpdateRule.measure` returned."""


Apply = Callable[[Tensor, Tensor, State, Step], None]
"""f(params [..., P], grads [..., P], state, step): in place on params and state; may overwrite grads."""

Fused = Callable[[Tensor, Tensor, State, Tensor, float, Mapping[str, float]], None]
"""f(params [P], grads [P], state, number, learning_rate, numbers): as `Apply`, for one member; `number`
counts steps from 1."""

Measure = Callable[[Tensor, Sequence[TensorSpan]], Tensor]


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """An optimizer: what it keeps between steps and how it steps."""

    buffers: tuple[str, ...]
    """Names of its state tensors; each starts at zero and is shaped like params."""
    momentum_number: str | None
    """The number that a 1cycle schedule cycles; None where there is none to cycle."""
    apply: Apply
    fused: Fused | None = None
    """The same in one pass of torch's own kernel, which a CPU makes faster than several over all members."""
    measure: Measure | None = None
    """What it wants to know of params before they decay."""
    check: Callable[[Sequence[TensorSpan]], None] | None = None
    """Raises ValueError where the rule means nothing for a network of these tensors."""


def like(params: Tensor, number: Number) -> Tensor:
    """The number as a tensor of the precision and device of params."""
    return torch.as_tensor(number, dtype=params.dtype, device=params.device)
