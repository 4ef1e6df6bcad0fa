"""Update rules: how gradients become a step, for one member or a stack.

Shape letters: P flat parameters of a member; "..." is the members of a stack or nothing. Numbers
are floats or tensors [..., 1] that broadcast against params [..., P]. Each rule equals its
torch.optim namesake; decay of weights is not its business (see regularizers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from search_spaces.factor import Factor, Level, Range, Source
from search_spaces.regularizers import DECOUPLED_DECAY

Number = Tensor | float

TINY_RATE = 1e-30
"""Stands in for a learning rate of 0 where a rule divides by it: 0 * inf would be NaN."""


class Apply(Protocol):
    """One step, in place on params and state; `grads` may be overwritten."""

    def __call__(
        self,
        params: Tensor,
        grads: Tensor,
        state: dict[str, Tensor],
        *,
        step: int,
        learning_rate: Number,
        numbers: Mapping[str, Number],
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """An optimizer: what it keeps between steps and how it steps."""

    buffers: tuple[str, ...]
    """Names of its state tensors; each starts at zero and is shaped like params."""
    momentum_number: str | None
    """The number that a 1cycle schedule cycles; None where there is none to cycle."""
    apply: Apply


def sgd(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """params -= learning_rate * grads."""
    params.addcmul_(grads, _like(params, learning_rate), value=-1)


def momentum(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """velocity = momentum * velocity + grads;  params -= learning_rate * velocity.

    As in torch the learning rate is outside the velocity: 001 and 004 have it inside, which differs
    once the rate changes.
    """
    velocity = state["velocity"].mul_(_like(params, numbers["momentum"])).add_(grads)
    params.addcmul_(velocity, _like(params, learning_rate), value=-1)


def nesterov(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """velocity = momentum * velocity + grads;  params -= learning_rate * (grads + momentum * velocity).

    As in torch the gradient is taken at params and not a step ahead (001, 004): the same iteration
    in the variable params + momentum * velocity.
    """
    friction = _like(params, numbers["momentum"])
    velocity = state["velocity"].mul_(friction).add_(grads)
    params.addcmul_(grads.addcmul_(velocity, friction), _like(params, learning_rate), value=-1)


def rmsprop(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """A step relative to the root of a moving average of squares.

        square = alpha * square + (1 - alpha) * grads^2
        params -= learning_rate * grads / (sqrt(square) + eps)

    As in torch eps is outside the root; 001 and 004 have it inside.
    """
    # Room kept between steps: with 64 members of 25000, allocating it anew tripled the time of a step.
    square, scratch = state["square"], state["scratch"]
    torch.mul(grads, grads, out=scratch)
    square.lerp_(scratch, 1 - _like(params, numbers["alpha"]))
    torch.rsqrt(square, out=scratch).reciprocal_().add_(_like(params, numbers["eps"]))
    params.addcdiv_(grads.mul_(_like(params, learning_rate)), scratch, value=-1)


def adam(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """Two moving averages, corrected for their start at zero.

        mean   = beta1 * mean   + (1 - beta1) * grads
        square = beta2 * square + (1 - beta2) * grads^2
        params -= learning_rate * (mean / c1) / (sqrt(square / c2) + eps),  c = 1 - beta^step

    Computed as mean / (a * sqrt(square) + b), with a and b one number per member. As in torch eps
    is outside the root; 001 has it inside.
    """
    beta1, beta2 = _like(params, numbers["beta1"]), _like(params, numbers["beta2"])
    # In double, because 1 - beta2^step of the first steps would keep two digits less in single.
    c1, c2 = 1 - beta1.double() ** step, 1 - beta2.double() ** step
    rate = _like(params, learning_rate).double().clamp_min(TINY_RATE)
    a = (c1 / (rate * c2.sqrt())).to(params.dtype)
    b = (c1 / rate * numbers["eps"]).to(params.dtype)
    mean = state["mean"].lerp_(grads, 1 - beta1)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    root = torch.rsqrt(square, out=grads)  # torch.sqrt takes 7 times longer where it meets a zero (MKL)
    scale = torch.div(a, root, out=root).add_(b)
    params.addcdiv_(mean, scale, value=-1)


def adagrad(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """A step relative to the root of the sum of all squares so far.

        total += grads^2
        params -= learning_rate * grads / (sqrt(total) + eps)

    torch's Adagrad without its lr_decay (a schedule's business) and from an accumulator of 0.
    """
    total, scratch = state["total"], state["scratch"]
    total.addcmul_(grads, grads)
    torch.rsqrt(total, out=scratch).reciprocal_().add_(_like(params, numbers["eps"]))
    params.addcdiv_(grads.mul_(_like(params, learning_rate)), scratch, value=-1)


def adamax(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """Adam with the largest recent gradient in place of the root of the mean square.

    mean    = beta1 * mean + (1 - beta1) * grads
    largest = max(beta2 * largest, |grads| + eps)
    params -= learning_rate / (1 - beta1^step) * mean / largest
    """
    beta1, beta2 = _like(params, numbers["beta1"]), _like(params, numbers["beta2"])
    mean = state["mean"].lerp_(grads, 1 - beta1)
    size = grads.abs_().add_(_like(params, numbers["eps"]))
    largest = state["largest"].mul_(beta2)
    torch.maximum(largest, size, out=largest)
    rate = _like(params, learning_rate).double() / (1 - beta1.double() ** step)
    params.addcdiv_(torch.mul(mean, rate.to(params.dtype), out=size), largest, value=-1)


def amsgrad(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """Adam that divides by the largest mean square so far, so that steps never grow again.

        mean    = beta1 * mean   + (1 - beta1) * grads
        square  = beta2 * square + (1 - beta2) * grads^2
        largest = max(largest, square)
        params -= learning_rate * (mean / c1) / (sqrt(largest / c2) + eps),  c = 1 - beta^step

    torch's Adam(amsgrad=True). The paper corrects neither average for its start.
    """
    beta1, beta2 = _like(params, numbers["beta1"]), _like(params, numbers["beta2"])
    mean = state["mean"].lerp_(grads, 1 - beta1)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    largest = torch.maximum(state["largest"], square, out=state["largest"])
    scale = _corrected_root(largest, beta2, step, _like(params, numbers["eps"]), out=grads)
    rate = _like(params, learning_rate).double() / (1 - beta1.double() ** step)
    params.addcdiv_(mean * rate.to(params.dtype), scale, value=-1)


NADAM_DECAY = 0.004
"""torch's momentum_decay: how fast NAdam's momentum rises to beta1."""


def nadam(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """Adam that looks one step ahead, as Nesterov does, with a momentum mu that rises to beta1.

    mu[t]   = beta1 * (1 - 0.96^(0.004 t) / 2),  product[t] = mu[1] * ... * mu[t]
    mean    = beta1 * mean   + (1 - beta1) * grads
    square  = beta2 * square + (1 - beta2) * grads^2
    ahead   = (1 - mu[t]) / (1 - product[t]) * grads + mu[t + 1] / (1 - product[t + 1]) * mean
    params -= learning_rate * ahead / (sqrt(square / (1 - beta2^t)) + eps)
    """
    beta1, beta2 = _like(params, numbers["beta1"]), _like(params, numbers["beta2"])
    now, following = (beta1.double() * (1 - 0.5 * 0.96 ** (t * NADAM_DECAY)) for t in (step, step + 1))
    # A product that starts at 1 kept as 1 minus it, because state starts at 0; one column is enough.
    missing = state["missing"][..., :1]
    missing.copy_(1 - (1 - missing.double()) * now)
    correction = missing.double()
    rate = _like(params, learning_rate).double()
    of_grads = (rate * (1 - now) / correction).to(params.dtype)
    of_mean = (rate * following / (1 - (1 - correction) * following)).to(params.dtype)
    mean = state["mean"].lerp_(grads, 1 - beta1)
    ahead = torch.mul(mean, of_mean).addcmul_(grads, of_grads)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    scale = _corrected_root(square, beta2, step, _like(params, numbers["eps"]), out=grads)
    params.addcdiv_(ahead, scale, value=-1)


RECTIFIED_FROM = 5.0
"""Length of RAdam's average from which its variance is known well enough to divide by it."""
RADAM_EPS = 1e-8
"""torch's eps."""


def radam(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    *,
    step: int,
    learning_rate: Number,
    numbers: Mapping[str, Number],
) -> None:
    """Adam that takes plain momentum steps until enough squares are averaged, then grows into Adam.

        full   = 2 / (1 - beta2) - 1,  length = full - 2 step beta2^step / (1 - beta2^step)
        rect   = sqrt((length - 4) (length - 2) full / ((full - 4) (full - 2) length))
        params -= learning_rate * (mean / c1) * (1 if length <= 5 else
                  rect * sqrt(c2) / (sqrt(square) + 1e-8)),  c = 1 - beta^step

    mean and square are Adam's. As in torch eps is added before the correction c2, unlike in Adam. It is
    fixed at torch's default, because it has no effect in the first steps and little later.
    """
    beta1, beta2 = _like(params, numbers["beta1"]), _like(params, numbers["beta2"])
    mean = state["mean"].lerp_(grads, 1 - beta1)
    square = state["square"].lerp_(grads.square_(), 1 - beta2)
    b2 = beta2.double()
    c1, c2 = 1 - beta1.double() ** step, 1 - b2**step
    full = 2 / (1 - b2) - 1
    length = full - 2 * step * b2**step / c2
    rectified = length > RECTIFIED_FROM
    inside = (length - 4) * (length - 2) * full / ((full - 4) * (full - 2) * length)
    rate = _like(params, learning_rate).double() / c1
    rate = torch.where(rectified, rate * (inside.clamp_min(0) * c2).sqrt(), rate).to(params.dtype)
    root = torch.rsqrt(square, out=grads).reciprocal_().add_(RADAM_EPS)
    params.addcdiv_(mean * rate, torch.where(rectified, root, 1), value=-1)


def _corrected_root(square: Tensor, beta2: Tensor, step: int, eps: Tensor, *, out: Tensor) -> Tensor:
    """sqrt(square / (1 - beta2^step)) + eps."""
    correction = (1 - beta2.double() ** step).rsqrt().to(square.dtype)
    return torch.rsqrt(square, out=out).reciprocal_().mul_(correction).add_(eps)


def _like(params: Tensor, number: Number) -> Tensor:
    return torch.as_tensor(number, dtype=params.dtype, device=params.device)


def _rate(low: float, high: float, default: float) -> Range:
    return Range(
        name="learning_rate",
        low=low,
        high=high,
        default=default,
        log=True,
        meaning="step size at the schedule's peak",
    )


MOMENTUM = Range(
    name="momentum",
    low=0.5,
    high=0.99,
    default=0.9,
    meaning="share of the velocity kept from one step to the next",
)
BETA1 = Range(
    name="beta1", low=0.5, high=0.99, default=0.9, meaning="share of the mean gradient kept at each step"
)
BETA2 = Range(
    name="beta2",
    low=0.9,
    high=0.9999,
    default=0.999,
    meaning="share of the mean squared gradient kept at each step",
)
ALPHA = Range(
    name="alpha",
    low=0.9,
    high=0.999,
    default=0.99,
    meaning="share of the mean squared gradient kept at each step",
)
EPS = Range(
    name="eps",
    low=1e-10,
    high=1.0,
    default=1e-8,
    log=True,
    meaning="added to the root of the mean squared gradient",
)
ADAGRAD_EPS = Range(
    name="eps",
    low=1e-10,
    high=1.0,
    default=1e-10,
    log=True,
    meaning="added to the root of the sum of squared gradients",
)
ADAMAX_BETA2 = Range(
    name="beta2",
    low=0.9,
    high=0.9999,
    default=0.999,
    meaning="share of the largest absolute gradient kept at each step",
)
ADAMAX_EPS = Range(
    name="eps",
    low=1e-10,
    high=1.0,
    default=1e-8,
    log=True,
    meaning="added to each absolute gradient",
)
ADAM_RATE = _rate(1e-5, 1e-1, 1e-3)

ADAM = UpdateRule(buffers=("mean", "square"), momentum_number="beta1", apply=adam)

# Cost ranks: the framework's own, then numbers to tune, then the time of a step of [16, 25000] float32 on
# one thread of an EPYC core (torch 2.14.1, best of 24, milliseconds): sgd 0.07, momentum 0.14, nesterov
# 0.21, adagrad 0.49, rmsprop 0.50, adamax 0.38, adam 0.55, amsgrad 0.81, nadam 0.82;
# radam, with fewer numbers than those, 1.02.
OPTIMIZER: Factor[UpdateRule] = Factor(
    name="optimizer",
    meaning="how gradients become a step",
    levels=(
        Level(
            name="sgd",
            build=UpdateRule(buffers=(), momentum_number=None, apply=sgd),
            enters="structure",
            source=Source(
                document="001 002; torch 2.14 SGD", claim="slow, but its solutions generalize well"
            ),
            cost_rank=0,
            ranges=(_rate(3e-4, 3.0, 1e-3),),
            note="torch has no default optimizer; its first tutorial uses SGD, which stands in for one. "
            "torch's OneCycleLR would give it momentum; here it stays without.",
        ),
        Level(
            name="momentum",
            build=UpdateRule(buffers=("velocity",), momentum_number="momentum", apply=momentum),
            enters="structure",
            source=Source(
                document="001 002 004; Polyak 1964; torch 2.14 SGD",
                claim="momentum 0.9 rolls down valleys faster than plain SGD",
            ),
            cost_rank=1,
            ranges=(_rate(1e-4, 1.0, 1e-3), MOMENTUM),
            note="torch's own default is momentum 0, which is the level sgd; 0.9 is usual (001, 004).",
        ),
        Level(
            name="nesterov",
            build=UpdateRule(buffers=("velocity",), momentum_number="momentum", apply=nesterov),
            enters="structure",
            source=Source(
                document="001 004; Sutskever et al. 2013 (PMLR 28); torch 2.14 SGD",
                claim="almost always faster than momentum; with AdamW one of the two guideline optimizers",
            ),
            cost_rank=2,
            ranges=(_rate(1e-4, 1.0, 1e-3), MOMENTUM),
            note="torch's own default is momentum 0; 0.9 is usual (001, 004).",
        ),
        Level(
            name="adagrad",
            build=UpdateRule(buffers=("total", "scratch"), momentum_number=None, apply=adagrad),
            enters="structure",
            source=Source(
                document="001 004; Duchi et al. 2011 (JMLR 12); torch 2.14 Adagrad",
                claim="heads straight for the optimum on simple problems, but stops too early on networks",
            ),
            cost_rank=3,
            ranges=(_rate(1e-4, 1.0, 1e-2), ADAGRAD_EPS),
            note="The accumulator starts at 0, as in torch. No momentum, so 1cycle cycles none.",
        ),
        Level(
            name="rmsprop",
            build=UpdateRule(buffers=("square", "scratch"), momentum_number=None, apply=rmsprop),
            enters="structure",
            source=Source(
                document="001 004; Tieleman and Hinton 2012; torch 2.14 RMSprop",
                claim="a moving average repairs AdaGrad, which stops too early",
            ),
            cost_rank=4,
            ranges=(_rate(1e-5, 1e-1, 1e-2), ALPHA, EPS),
            note="alpha defaults to torch's 0.99 (001 and 004 use 0.9). No momentum, so 1cycle cycles none.",
        ),
        Level(
            name="adam",
            build=ADAM,
            enters="structure",
            source=Source(
                document="001 002 004; Kingma and Ba 2015, arXiv:1412.6980; torch 2.14 Adam",
                claim="momentum and RMSProp in one; learning rate 0.001 is often a good default",
            ),
            cost_rank=7,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS),
        ),
        Level(
            name="adamax",
            build=UpdateRule(buffers=("mean", "largest"), momentum_number="beta1", apply=adamax),
            enters="structure",
            source=Source(
                document="001 004; Kingma and Ba 2015, arXiv:1412.6980; torch 2.14 Adamax",
                claim="can be more stable than Adam, but Adam generally performs better",
            ),
            cost_rank=6,
            ranges=(_rate(1e-5, 1e-1, 2e-3), BETA1, ADAMAX_BETA2, ADAMAX_EPS),
        ),
        Level(
            name="nadam",
            build=UpdateRule(buffers=("mean", "square", "missing"), momentum_number="beta1", apply=nadam),
            enters="structure",
            source=Source(
                document="001 004; Dozat 2016 (ICLR workshop); torch 2.14 NAdam",
                claim="Adam plus the Nesterov trick; generally outperforms Adam",
            ),
            cost_rank=9,
            ranges=(_rate(1e-5, 1e-1, 2e-3), BETA1, BETA2, EPS),
            note="momentum_decay is fixed at torch's 0.004.",
        ),
        Level(
            name="amsgrad",
            build=UpdateRule(buffers=("mean", "square", "largest"), momentum_number="beta1", apply=amsgrad),
            enters="structure",
            source=Source(
                document="Reddi et al. 2018, arXiv:1904.09237; torch 2.14 Adam(amsgrad=True)",
                claim="repairs Adam's proof of convergence: the effective rate never rises",
            ),
            cost_rank=8,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS),
            note="Not in the seed documents.",
        ),
        Level(
            name="radam",
            build=UpdateRule(buffers=("mean", "square"), momentum_number="beta1", apply=radam),
            enters="structure",
            source=Source(
                document="Liu et al. 2020, arXiv:1908.03265; torch 2.14 RAdam",
                claim="does for Adam's noisy first steps what warm-up does, without a number to tune",
            ),
            cost_rank=5,
            ranges=(ADAM_RATE, BETA1, BETA2),
            note="Not in the seed documents. eps is fixed at torch's 1e-8.",
        ),
        Level(
            name="adamw",
            build=ADAM,
            enters="structure",
            source=Source(
                document="001; Loshchilov and Hutter 2019, arXiv:1711.05101; torch 2.14 AdamW",
                claim="Adam with decoupled weight decay; with Nesterov one of the two guideline optimizers",
            ),
            cost_rank=10,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS, DECOUPLED_DECAY),
            note="The rule is Adam's; the trainer applies the decay.",
        ),
    ),
    framework_default="sgd",
    textbook_shallow=("nesterov", "adamw"),
    textbook_deep=("nesterov", "adamw"),
)
