"""Steps relative to the size of recent gradients: AdaGrad, RMSProp and Adam.

Shape letters as in rule.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from search_spaces.optimizers.rule import State, Step, like
from search_spaces.torch_kernels import KERNELS, available

TINY_RATE = 1e-30
"""Stands in for a learning rate of 0 where a rule divides by it: 0 * inf would be NaN."""


def adagrad(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """A step relative to the root of the sum of all squares so far.

        total += grads^2
        params -= learning_rate * grads / (sqrt(total) + eps)

    torch's Adagrad without its lr_decay (a schedule's business) and from an accumulator of 0.
    """
    total, scratch = state["total"], state["scratch"]
    total.addcmul_(grads, grads)
    torch.rsqrt(total, out=scratch).reciprocal_().add_(like(params, step.numbers["eps"]))
    params.addcdiv_(grads.mul_(like(params, step.learning_rate)), scratch, value=-1)


def rmsprop(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """A step relative to the root of a moving average of squares.

        square = alpha * square + (1 - alpha) * grads^2
        params -= learning_rate * grads / (sqrt(square) + eps)

    As in torch eps is outside the root; 001 and 004 have it inside.
    """
    # Room kept between steps: with 64 members of 25000, allocating it again tripled the time of a step.
    square, scratch = state["square"], state["scratch"]
    torch.mul(grads, grads, out=scratch)
    square.lerp_(scratch, 1 - like(params, step.numbers["alpha"]))
    torch.rsqrt(square, out=scratch).reciprocal_().add_(like(params, step.numbers["eps"]))
    params.addcdiv_(grads.mul_(like(params, step.learning_rate)), scratch, value=-1)


def adam(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Two moving averages, corrected for their start at zero.

        mean   = beta1 * mean   + (1 - beta1) * grads
        square = beta2 * square + (1 - beta2) * grads^2
        params -= learning_rate * (mean / c1) / (sqrt(square / c2) + eps),  c = 1 - beta^step

    Computed as mean / (a * sqrt(square) + b), with a and b one number per member. As in torch eps
    is outside the root; 001 has it inside.
    """
    beta1, beta2 = like(params, step.numbers["beta1"]), like(params, step.numbers["beta2"])
    # In double, because 1 - beta2^step of the first steps would keep two digits less in single.
    c1, c2 = 1 - beta1.double() ** step.number, 1 - beta2.double() ** step.number
    rate = like(params, step.learning_rate).double().clamp_min(TINY_RATE)
    a = (c1 / (rate * c2.sqrt())).to(params.dtype)
    b = (c1 / rate * step.numbers["eps"]).to(params.dtype)
    mean = state["mean"].lerp_(grads, 1 - beta1)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    root = torch.rsqrt(square, out=grads)  # torch.sqrt takes 7 times longer where it meets a zero (MKL)
    scale = torch.div(a, root, out=root).add_(b)
    params.addcdiv_(mean, scale, value=-1)


def _fused(
    params: Tensor,
    grads: Tensor,
    state: State,
    number: Tensor,
    learning_rate: float,
    numbers: Mapping[str, float],
) -> None:
    KERNELS["_fused_adam_"](
        [params],
        [grads],
        [state["mean"]],
        [state["square"]],
        [],
        [number],
        lr=learning_rate,
        beta1=numbers["beta1"],
        beta2=numbers["beta2"],
        weight_decay=0.0,
        eps=numbers["eps"],
        amsgrad=False,
        maximize=False,
    )


adam_fused = _fused if available("_fused_adam_") else None
"""As `adam`, by the kernel behind torch.optim.Adam(fused=True)."""
