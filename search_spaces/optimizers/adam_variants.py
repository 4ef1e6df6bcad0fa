"""Adam with one idea changed: AdaMax, AMSGrad, NAdam, RAdam.

Shape letters as in rule.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from search_spaces.optimizers.rule import State, Step, like


def adamax(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Adam with the largest recent gradient in place of the root of the mean square.

    mean    = beta1 * mean + (1 - beta1) * grads
    largest = max(beta2 * largest, |grads| + eps)
    params -= learning_rate / (1 - beta1^step) * mean / largest
    """
    beta1, beta2 = like(params, step.numbers["beta1"]), like(params, step.numbers["beta2"])
    mean = state["mean"].lerp_(grads, 1 - beta1)
    size = grads.abs_().add_(like(params, step.numbers["eps"]))
    largest = state["largest"].mul_(beta2)
    torch.maximum(largest, size, out=largest)
    rate = like(params, step.learning_rate).double() / (1 - beta1.double() ** step.number)
    params.addcdiv_(torch.mul(mean, rate.to(params.dtype), out=size), largest, value=-1)


def amsgrad(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Adam that divides by the largest mean square so far, so that steps never grow again.

        mean    = beta1 * mean   + (1 - beta1) * grads
        square  = beta2 * square + (1 - beta2) * grads^2
        largest = max(largest, square)
        params -= learning_rate * (mean / c1) / (sqrt(largest / c2) + eps),  c = 1 - beta^step

    torch's Adam(amsgrad=True). The paper corrects neither average for its start.
    """
    beta1, beta2 = like(params, step.numbers["beta1"]), like(params, step.numbers["beta2"])
    mean = state["mean"].lerp_(grads, 1 - beta1)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    largest = torch.maximum(state["largest"], square, out=state["largest"])
    scale = corrected_root(largest, beta2, step.number, like(params, step.numbers["eps"]), out=grads)
    rate = like(params, step.learning_rate).double() / (1 - beta1.double() ** step.number)
    params.addcdiv_(mean * rate.to(params.dtype), scale, value=-1)


NADAM_DECAY = 0.004
"""torch's momentum_decay: how fast NAdam's momentum rises to beta1."""


def nadam(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Adam that looks one step ahead, as Nesterov does, with a momentum mu that rises to beta1.

    mu[t]   = beta1 * (1 - 0.96^(0.004 t) / 2),  product[t] = mu[1] * ... * mu[t]
    mean    = beta1 * mean   + (1 - beta1) * grads
    square  = beta2 * square + (1 - beta2) * grads^2
    ahead   = (1 - mu[t]) / (1 - product[t]) * grads + mu[t + 1] / (1 - product[t + 1]) * mean
    params -= learning_rate * ahead / (sqrt(square / (1 - beta2^t)) + eps)
    """
    beta1, beta2 = like(params, step.numbers["beta1"]), like(params, step.numbers["beta2"])
    now, following = (
        beta1.double() * (1 - 0.5 * 0.96 ** (t * NADAM_DECAY)) for t in (step.number, step.number + 1)
    )
    # A product that starts at 1 kept as 1 minus it, because state starts at 0; one column is enough.
    missing = state["missing"][..., :1]
    missing.copy_(1 - (1 - missing.double()) * now)
    correction = missing.double()
    rate = like(params, step.learning_rate).double()
    of_grads = (rate * (1 - now) / correction).to(params.dtype)
    of_mean = (rate * following / (1 - (1 - correction) * following)).to(params.dtype)
    mean = state["mean"].lerp_(grads, 1 - beta1)
    ahead = torch.mul(mean, of_mean).addcmul_(grads, of_grads)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    scale = corrected_root(square, beta2, step.number, like(params, step.numbers["eps"]), out=grads)
    params.addcdiv_(ahead, scale, value=-1)


RECTIFIED_FROM = 5.0
"""Length of RAdam's average from which its variance is known well enough to divide by it."""


def radam(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Adam that takes plain momentum steps until enough squares are averaged, then grows into Adam.

        full   = 2 / (1 - beta2) - 1,  length = full - 2 step beta2^step / (1 - beta2^step)
        rect   = sqrt((length - 4) (length - 2) full / ((full - 4) (full - 2) length))
        params -= learning_rate * (mean / c1) * (1 if length <= 5 else
                  rect * sqrt(c2) / (sqrt(square) + eps)),  c = 1 - beta^step

    mean and square are Adam's. As in torch eps is added before the correction c2, unlike in Adam.
    """
    beta1, beta2 = like(params, step.numbers["beta1"]), like(params, step.numbers["beta2"])
    mean = state["mean"].lerp_(grads, 1 - beta1)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    b2 = beta2.double()
    c1, c2 = 1 - beta1.double() ** step.number, 1 - b2**step.number
    full = 2 / (1 - b2) - 1
    length = full - 2 * step.number * b2**step.number / c2
    rectified = length > RECTIFIED_FROM
    inside = (length - 4) * (length - 2) * full / ((full - 4) * (full - 2) * length)
    rate = like(params, step.learning_rate).double() / c1
    rate = torch.where(rectified, rate * (inside.clamp_min(0) * c2).sqrt(), rate).to(params.dtype)
    root = torch.rsqrt(square, out=grads).reciprocal_().add_(like(params, step.numbers["eps"]))
    params.addcdiv_(mean * rate, torch.where(rectified, root, 1), value=-1)


def corrected_root(square: Tensor, beta2: Tensor, step: int, eps: Tensor, *, out: Tensor) -> Tensor:
    """sqrt(square / (1 - beta2^step)) + eps."""
    correction = (1 - beta2.double() ** step).rsqrt().to(square.dtype)
    return torch.rsqrt(square, out=out).reciprocal_().mul_(correction).add_(eps)
