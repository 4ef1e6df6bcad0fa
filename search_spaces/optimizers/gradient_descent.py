"""Steps along the gradient, plain or with momentum.

Shape letters as in rule.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from search_spaces.optimizers.rule import State, Step, like
from search_spaces.torch_kernels import KERNELS, available


def sgd(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """params -= learning_rate * grads."""
    params.addcmul_(grads, like(params, step.learning_rate), value=-1)


def momentum(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """velocity = momentum * velocity + grads;  params -= learning_rate * velocity.

    As in torch the learning rate is outside the velocity: 001 and 004 have it inside, which differs
    once the rate changes.
    """
    velocity = state["velocity"].mul_(like(params, step.numbers["momentum"])).add_(grads)
    params.addcmul_(velocity, like(params, step.learning_rate), value=-1)


def nesterov(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """velocity = momentum * velocity + grads;  params -= learning_rate * (grads + momentum * velocity).

    As in torch the gradient is taken at params and not a step ahead (001, 004): the same iteration
    in the variable params + momentum * velocity.
    """
    friction = like(params, step.numbers["momentum"])
    velocity = state["velocity"].mul_(friction).add_(grads)
    params.addcmul_(grads.addcmul_(velocity, friction), like(params, step.learning_rate), value=-1)


def _fused(
    params: Tensor,
    grads: Tensor,
    state: State,
    number: Tensor,
    learning_rate: float,
    numbers: Mapping[str, float],
    *,
    nesterov: bool,
) -> None:
    momentum = numbers["momentum"]
    KERNELS["_fused_sgd_"](
        [params],
        [grads],
        [state["velocity"]] if momentum else [],  # torch refuses a velocity that nothing is kept of
        weight_decay=0.0,
        momentum=momentum,
        lr=learning_rate,
        dampening=0.0,
        nesterov=nesterov and momentum > 0,
        maximize=False,
        is_first_step=False,
    )


momentum_fused = partial(_fused, nesterov=False) if available("_fused_sgd_") else None
"""As `momentum`, by the kernel behind torch.optim.SGD(fused=True)."""
nesterov_fused = partial(_fused, nesterov=True) if available("_fused_sgd_") else None
"""As `nesterov`, by the same kernel."""
