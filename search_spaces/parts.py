"""The tensors that a member's flat row is made of, as far as their shape and task matter here.

Shape letters: P flat parameters of a member; "..." is the members of a stack or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class TensorSpan(Protocol):
    """One tensor of a flat row: where it begins, its shape and what it is for."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def role(self) -> str:
        """'weight' is [fan_in, fan_out]; 'own' is a tensor of a user's module, as torch shapes it."""
        ...

    @property
    def start(self) -> int: ...


def place(flat: Tensor, part: TensorSpan) -> Tensor:
    """The part's elements in `flat` [..., P]; writing to one writes the other."""
    return flat[..., part.start : part.start + math.prod(part.shape)]


def view(flat: Tensor, part: TensorSpan) -> Tensor:
    """As `place`, in the part's own shape: [..., *part.shape]."""
    return place(flat, part).view(*flat.shape[:-1], *part.shape)


def is_weight(part: TensorSpan) -> bool:
    """Multiplies what flows through the network: no bias, no parameter of a norm or an activation.

    In a user's module, where names mean nothing, it is what has two dimensions or more.
    """
    return part.role == "weight" or (part.role == "own" and len(part.shape) >= 2)


def hidden(parts: Sequence[TensorSpan]) -> tuple[TensorSpan, ...]:
    """Weights of hidden units: all but the last, which the outputs read."""
    return tuple(part for part in parts if is_weight(part))[:-1]


def inner(parts: Sequence[TensorSpan]) -> tuple[TensorSpan, ...]:
    """Weights between the first, which reads the inputs, and the last, which the outputs read."""
    return hidden(parts)[1:]


def by_unit(tensor: Tensor, part: TensorSpan) -> Tensor:
    """A weight's view [..., *shape] as a matrix with a row for each unit: [..., fan_out, fan_in].

    The units of a [fan_in, fan_out] weight are its columns; in all other tensors, those of more than
    two dimensions among them, they come first, as in torch.
    """
    return tensor.mT if _units_last(part) else tensor.flatten(-len(part.shape) + 1)


def fans(part: TensorSpan) -> tuple[int, int]:
    """Units of a weight and inputs of each."""
    first, *others = part.shape
    return (others[0], first) if _units_last(part) else (first, math.prod(others))


def _units_last(part: TensorSpan) -> bool:
    return part.role == "weight" and len(part.shape) == 2
