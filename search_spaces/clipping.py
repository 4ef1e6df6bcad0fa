"""Gradient clipping, for one member or a stack.

Shape letters: P flat gradients of a member; "..." is the members of a stack or nothing. Numbers are
floats or tensors [..., 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from search_spaces.factor import Factor, Level, Range, Source

Clip = Callable[..., Tensor]
"""f(grads [..., P], **own numbers) -> clipped grads [..., P]; may overwrite its argument."""

EPS = 1e-6
"""Added to the norm, as in torch.nn.utils.clip_grad_norm_."""


def clip_norm(grads: Tensor, *, clip_norm: Tensor | float) -> Tensor:
    """grads * min(1, clip_norm / (norm + 1e-6)), with the Euclidean norm over all of a member's gradients.

    An infinite `clip_norm` leaves the gradients as they are to the bit, whatever their norm.
    """
    norm = torch.linalg.vector_norm(grads, dim=-1, keepdim=True)
    # fmin, because the norm may overflow: inf / inf must leave an unclipped member alone.
    scale = torch.fmin(clip_norm / (norm + EPS), torch.ones_like(norm))
    return grads.mul_(scale)


def clip_value(grads: Tensor, *, clip_value: Tensor | float) -> Tensor:
    """Each gradient held between -clip_value and clip_value, as torch.nn.utils.clip_grad_value_ does.

    An infinite `clip_value` leaves the gradients as they are.
    """
    limit = torch.as_tensor(clip_value, dtype=grads.dtype, device=grads.device)
    return grads.clamp_(-limit, limit)


def shrink(grads: Tensor, *, clip_norm: Tensor | float, shrink_factor: Tensor | float) -> Tensor:
    """grads * shrink_factor where their Euclidean norm exceeds clip_norm, grads otherwise.

    Unlike clipping, what is left still grows with the norm. An infinite `clip_norm` leaves the gradients
    as they are, whatever the factor.
    """
    norm = torch.linalg.vector_norm(grads, dim=-1, keepdim=True)
    factor = torch.as_tensor(shrink_factor, dtype=grads.dtype, device=grads.device)
    return grads.mul_(torch.where(norm > clip_norm, factor, 1))


CLIP_NORM = Range(
    name="clip_norm",
    low=0.1,
    high=10.0,
    default=1.0,
    log=True,
    meaning="largest Euclidean norm of all gradients of a step",
)

CLIP_VALUE = Range(
    name="clip_value",
    low=1e-3,
    high=10.0,
    default=1.0,
    log=True,
    meaning="largest absolute value of any one gradient",
)
SHRINK_FACTOR = Range(
    name="shrink_factor",
    low=1e-3,
    high=0.5,
    default=0.1,
    log=True,
    meaning="what gradients are multiplied by where their norm exceeds clip_norm",
)

# Cost ranks: the framework's own, then numbers to tune, then the time for [16, 25000] float32 on one thread
# of an EPYC core (torch 2.14.1, best of 50, microseconds): norm 96, value 383.
CLIPPING: Factor[Clip | None] = Factor(
    name="clipping",
    meaning="what is done to gradients that are too large",
    levels=(
        Level(
            name="none",
            build=None,
            enters="numbers",
            source=Source(document="001", claim="the guidelines table asks for no clipping"),
            cost_rank=0,
        ),
        Level(
            name="norm",
            build=clip_norm,
            enters="numbers",
            source=Source(
                document="001 004; Pascanu et al. 2013, arXiv:1211.5063; torch 2.14 clip_grad_norm_",
                claim="clipping by norm stops explosions and keeps the gradient's direction",
            ),
            cost_rank=1,
            ranges=(CLIP_NORM,),
            note="torch has no default threshold; 1.0 is 001's.",
        ),
        Level(
            name="value",
            build=clip_value,
            enters="numbers",
            source=Source(
                document="001 004; torch 2.14 clip_grad_value_",
                claim="clipping each gradient by itself works well too, but changes their direction",
            ),
            cost_rank=2,
            ranges=(CLIP_VALUE,),
            note="torch has no default threshold; 1.0 is 004's.",
        ),
        Level(
            name="shrink",
            build=shrink,
            enters="numbers",
            source=Source(
                document="000",
                claim="a gradient whose norm exceeds a threshold is multiplied by a small value",
            ),
            cost_rank=3,
            ranges=(CLIP_NORM, SHRINK_FACTOR),
            note="Not clipping: what is left is still as unequal as before. 000 names no value for either.",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
