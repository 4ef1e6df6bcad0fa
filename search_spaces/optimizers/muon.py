"""Muon: the step of a hidden matrix is its momentum, orthogonalized.

Shape letters as in rule.py; M matrices of one shape, A x B their shape, units first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from search_spaces.optimizers.adaptive import adam
from search_spaces.optimizers.rule import State, Step, like
from search_spaces.parts import TensorSpan, by_unit, fans, inner, place, view

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPS = 1e-7
"""torch's ns_coefficients, ns_steps and eps."""
REST = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
"""torch's AdamW, for all that is no inner matrix."""
PADDED_TO = 4
"""Sides are filled up with zeros to multiples of it: products may depend on alignment in their last bit."""


def muon(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Momentum made orthogonal for inner matrices; Adam for all other parameters.

        velocity = momentum * velocity + (1 - momentum) * grads
        ahead    = (1 - momentum) * grads + momentum * velocity
        params  -= learning_rate * sqrt(max(1, fan_out / fan_in)) * orthogonal(ahead)

    torch's Muon (nesterov=True, adjust_lr_fn='original') and, with the same learning rate, AdamW. Inner
    matrices are those between the first weight and the last, as torch and its source ask; filters of a
    convolution, which torch's refuses, are a matrix with a row for each unit, as in the source.
    """
    _muon(params, grads, state, step, lambda a, b: math.sqrt(max(1, a / b)))


def muon_matched(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Muon with updates of the size of Adam's.

        params -= learning_rate * 0.2 * sqrt(max(fan_out, fan_in)) * orthogonal(ahead)

    torch's adjust_lr_fn='match_rms_adamw'; all else as muon.
    """
    _muon(params, grads, state, step, lambda a, b: 0.2 * math.sqrt(max(a, b)))


def _muon(
    params: Tensor, grads: Tensor, state: State, step: Step, rate_of: Callable[[int, int], float]
) -> None:
    """`rate_of`: (A, B) -> what the learning rate is multiplied by."""
    friction, rate = (like(params, n) for n in (step.numbers["momentum"], step.learning_rate))
    velocity = state["velocity"].lerp_(grads, 1 - friction)
    ahead = torch.lerp(grads, velocity, friction)
    matrices = inner(step.parts)
    for part in matrices:
        place(grads, part).zero_()  # Adam then leaves it where it is, to the bit
    adam(params, grads, state, Step(number=step.number, learning_rate=step.learning_rate, numbers=REST))
    for shape, same in groupby(sorted(matrices, key=fans), key=fans):
        group = list(same)
        stacked = torch.stack([by_unit(view(ahead, part), part) for part in group], dim=-3)
        updates = orthogonal(stacked) * (rate * rate_of(*shape))[..., None, None]
        for part, update in zip(group, updates.unbind(dim=-3), strict=True):
            by_unit(view(params, part), part).sub_(update)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [..., A, B] with singular values near 1 and the same singular vectors.

    Five Newton-Schulz iterations, which bring a singular value s of the matrix divided by its norm to
    a s + b s^3 + c s^5 each: values from 0.7 to 1.2. torch rounds to bfloat16 on the way, for the speed
    of GPUs; here the precision is that of the matrices.
    """
    a, b, c = NEWTON_SCHULZ
    rows, columns = matrices.shape[-2:]
    wide = matrices.mT if rows > columns else matrices
    x = functional.pad(wide, (0, -wide.shape[-1] % PADDED_TO, 0, -wide.shape[-2] % PADDED_TO))
    x = x.reshape(-1, *x.shape[-2:])
    norm = torch.linalg.vector_norm(x.flatten(-2), dim=-1, keepdim=True)[..., None]
    x = x / norm.clamp(min=EPS)
    # The polynomial a + b G + c G^2 of G = x x^T, then times x. Room kept between iterations: with 972
    # matrices of 32 x 32, allocating it again took 1.5 times as long.
    gram, polynomial = x.new_empty(2, *x.shape[:-1], x.shape[-2])
    following = torch.empty_like(x)
    for _ in range(ITERATIONS):
        torch.bmm(x, x.mT, out=gram)
        torch.bmm(gram, gram, out=polynomial).mul_(c).add_(gram, alpha=b)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        torch.bmm(polynomial, x, out=following)
        x, following = following, x
    x = x[..., : wide.shape[-2], : wide.shape[-1]].reshape(wide.shape)
    return x.mT if rows > columns else x


def needs_a_matrix(parts: Sequence[TensorSpan]) -> None:
    """Needs a matrix between the first weight and the last (ValueError): Muon would be AdamW."""
    if not inner(parts):
        raise ValueError(
            "optimizer=muon needs a matrix between the first weight and the last, and this network has "
            "none: ask for depth of 2 or more, or optimizer=adamw"
        )
