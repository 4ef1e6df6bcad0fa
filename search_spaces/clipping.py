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


CLIP_NORM = Range(
    name="clip_norm",
    low=0.1,
    high=10.0,
    default=1.0,
    log=True,
    meaning="largest Euclidean norm of all gradients of a step",
)

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
            note="torch has no default threshold; 1.0 is 001's. 000 multiplies by a small constant instead.",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
