"""What weights are held to while they train.

Shape letters: P flat parameters of a member; "..." is the members of a stack or nothing. Numbers are
floats or tensors [..., 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.factor import Factor, Level, Range, Source
from search_spaces.parts import TensorSpan, by_unit, is_weight, view

Constrain = Callable[..., None]
"""f(params [..., P], parts, **own numbers): in place, after every step."""


@dataclass(frozen=True, kw_only=True)
class WeightConstraint:
    """A rule for weights."""

    after_step: Constrain | None = None
    """Done to params after every step."""
    symmetric: bool = False
    """Square matrices of hidden layers are W + W^T, up to a factor, in every forward pass."""


def max_norm(params: Tensor, parts: Sequence[TensorSpan], *, max_norm_radius: Tensor | float) -> None:
    """Each unit's incoming weights * min(1, max_norm_radius / their Euclidean norm).

    An infinite radius leaves them as they are to the bit.
    """
    radius = torch.as_tensor(max_norm_radius, dtype=params.dtype, device=params.device)[..., None]
    for part in parts:
        if is_weight(part):
            units = by_unit(view(params, part), part)
            norm = torch.linalg.vector_norm(units, dim=-1, keepdim=True)
            units.mul_(torch.where(norm > radius, radius / norm, 1))


MAX_NORM_RADIUS = Range(
    name="max_norm_radius",
    low=0.5,
    high=4.0,
    default=2.0,
    log=True,
    meaning="largest Euclidean norm of the weights that lead into one unit",
)

WEIGHT_CONSTRAINT: Factor[WeightConstraint] = Factor(
    name="weight_constraint",
    meaning="what weights are held to while they train",
    levels=(
        Level(
            name="none",
            build=WeightConstraint(),
            enters="numbers",
            source=Source(document="001", claim="the guidelines table asks for no constraint"),
            cost_rank=0,
            formula="weights as the optimizer leaves them",
        ),
        Level(
            name="symmetric",
            build=WeightConstraint(symmetric=True),
            enters="structure",
            source=Source(
                document="000", claim="symmetric matrices have real eigenvalues, which makes training stable"
            ),
            cost_rank=1,
            note="A parametrization of square hidden matrices; others stay as they are.",
            formula="(V + V^T) / 2 in place of every square hidden matrix V",
        ),
        Level(
            name="max_norm",
            build=WeightConstraint(after_step=max_norm),
            enters="numbers",
            source=Source(
                document="001 004; Srivastava et al. 2014 (JMLR 15)",
                claim="the lower the largest norm of a unit's weights, the stronger the regularization",
            ),
            cost_rank=2,
            ranges=(MAX_NORM_RADIUS,),
            note="001's radius of 2; 004 has 1. Every weight, as in 001's code, the outputs' among them; "
            "Srivastava et al. constrain hidden units. No biases.",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
