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
ADAM_RATE = _rate(1e-5, 1e-1, 1e-3)

ADAM = UpdateRule(buffers=("mean", "square"), momentum_number="beta1", apply=adam)

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
            name="rmsprop",
            build=UpdateRule(buffers=("square", "scratch"), momentum_number=None, apply=rmsprop),
            enters="structure",
            source=Source(
                document="001 004; Tieleman and Hinton 2012; torch 2.14 RMSprop",
                claim="a moving average repairs AdaGrad, which stops too early",
            ),
            cost_rank=3,
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
            cost_rank=4,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS),
        ),
        Level(
            name="adamw",
            build=ADAM,
            enters="structure",
            source=Source(
                document="001; Loshchilov and Hutter 2019, arXiv:1711.05101; torch 2.14 AdamW",
                claim="Adam with decoupled weight decay; with Nesterov one of the two guideline optimizers",
            ),
            cost_rank=5,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS, DECOUPLED_DECAY),
            note="The rule is Adam's; the trainer applies the decay.",
        ),
    ),
    framework_default="sgd",
    textbook_shallow=("nesterov", "adamw"),
    textbook_deep=("nesterov", "adamw"),
)
