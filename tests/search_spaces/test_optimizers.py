"""Update rules against torch.optim: twenty steps on a quartic bowl. K members, P flat parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.optimizers import OPTIMIZER

K, P, STEPS = 3, 40, 20

Numbers = dict[str, float]
Twin = Callable[[list[Tensor], Numbers, float], torch.optim.Optimizer]

TWINS: dict[str, Twin] = {
    "sgd": lambda p, n, wd: torch.optim.SGD(p, n["learning_rate"], weight_decay=wd),
    "momentum": lambda p, n, wd: torch.optim.SGD(
        p, n["learning_rate"], momentum=n["momentum"], weight_decay=wd
    ),
    "nesterov": lambda p, n, wd: torch.optim.SGD(
        p, n["learning_rate"], momentum=n["momentum"], nesterov=True, weight_decay=wd
    ),
    "rmsprop": lambda p, n, wd: torch.optim.RMSprop(
        p, n["learning_rate"], alpha=n["alpha"], eps=n["eps"], weight_decay=wd
    ),
    "adam": lambda p, n, wd: torch.optim.Adam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
    "adagrad": lambda p, n, wd: torch.optim.Adagrad(p, n["learning_rate"], eps=n["eps"], weight_decay=wd),
    "adamax": lambda p, n, wd: torch.optim.Adamax(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
    "nadam": lambda p, n, wd: torch.optim.NAdam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
    "amsgrad": lambda p, n, wd: torch.optim.Adam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd, amsgrad=True
    ),
    "radam": lambda p, n, wd: torch.optim.RAdam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), weight_decay=wd
    ),
    "adamw": lambda p, n, wd: torch.optim.AdamW(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
}
"""(parameters, a member's numbers, weight decay) -> the optimizer."""

DECOUPLED = {"adamw"}


def bowl_gradient(params: Tensor) -> Tensor:
    """Of sum(p^4 / 4 - p): curved enough that a wrong step is never made good."""
    return params**3 - 1


def start(dtype: torch.dtype) -> Tensor:
    return torch.randn(K, P, dtype=dtype, generator=torch.Generator().manual_seed(0))


def members_numbers(name: str) -> list[Numbers]:
    """Different numbers for each member, from the inside of each range; the rate from its lower half."""
    ranges = OPTIMIZER.level(name).ranges
    return [
        {r.name: r.at((k + 1) / (K + 1) * (0.5 if r.name == "learning_rate" else 1.0)) for r in ranges}
        for k in range(K)
    ]


def columns(numbers: list[Numbers], dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: torch.tensor([n[name] for n in numbers], dtype=dtype).view(-1, 1)
        for name in numbers[0]
        if name != "weight_decay"
    }


def cycled(step: int) -> float:
    """A momentum that changes at every step, as under 1cycle."""
    return 0.95 - 0.1 * step / STEPS


@pytest.fixture
def in_precision(dtype: torch.dtype) -> Iterator[None]:
    """torch's NAdam keeps its product of momenta in the default precision, whatever the parameters'."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("in_precision")
@pytest.mark.parametrize("cycling", [False, True], ids=["", "1cycle"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("name", TWINS)
def test_twenty_steps_of_a_stack_equal_torch_member_by_member(
    name: str, decay: float, cycling: bool, dtype: torch.dtype, tolerance: float
) -> None:
    """In single precision rounding of (1 - beta2) and 20 steps cost up to three digits of seven."""
    rule, numbers = OPTIMIZER.level(name).build, members_numbers(name)
    params, own = start(dtype), columns(numbers, dtype)
    state = {buffer: torch.zeros_like(params) for buffer in rule.buffers}
    twins = [params[k].clone().requires_grad_() for k in range(K)]
    optimizers = [TWINS[name]([twins[k]], numbers[k], decay) for k in range(K)]
    for step in range(STEPS):
        fading = 1 - 0.5 * step / STEPS
        rate = own["learning_rate"] * fading
        if cycling and rule.momentum_number is not None:
            own[rule.momentum_number] = torch.full((K, 1), cycled(step), dtype=dtype)
        grads = bowl_gradient(params)
        if decay and name in DECOUPLED:
            params.mul_(1 - rate * decay)
        elif decay:
            grads.add_(params, alpha=decay)
        rule.apply(params, grads, state, step=step + 1, learning_rate=rate, numbers=own)
        for k, optimizer in enumerate(optimizers):
            group: dict[str, Any] = optimizer.param_groups[0]
            group["lr"] = numbers[k]["learning_rate"] * fading
            if cycling and rule.momentum_number == "momentum":
                group["momentum"] = cycled(step)
            elif cycling and rule.momentum_number == "beta1":
                group["betas"] = (cycled(step), group["betas"][1])
            twins[k].grad = bowl_gradient(twins[k].detach())
            optimizer.step()
    for k in range(K):
        torch.testing.assert_close(params[k], twins[k].detach(), rtol=tolerance, atol=tolerance)
        assert (params[k] - start(dtype)[k]).abs().max() > 1e-4, "it must have moved for this to say anything"


@pytest.mark.parametrize("name", OPTIMIZER.names)
@pytest.mark.parametrize("rate", [0.0, 1e-42])
def test_a_rate_of_zero_moves_nothing_and_makes_no_nan(name: str, rate: float) -> None:
    """Performance scheduling may cut a rate until it underflows; some gradients are exactly zero."""
    rule, numbers = OPTIMIZER.level(name).build, members_numbers(name)
    params = start(torch.float32)
    before = params.clone()
    state = {buffer: torch.zeros_like(params) for buffer in rule.buffers}
    for step in (1, 2):
        grads = bowl_gradient(params)
        grads[:, ::2] = 0
        rule.apply(
            params,
            grads,
            state,
            step=step,
            learning_rate=torch.full((K, 1), rate),
            numbers=columns(numbers, torch.float32),
        )
    assert torch.equal(params, before)


@pytest.mark.parametrize("name", OPTIMIZER.names)
def test_a_member_turned_nan_harms_no_other(name: str) -> None:
    rule, own = OPTIMIZER.level(name).build, columns(members_numbers(name), torch.float32)
    results = []
    for sick in (False, True):
        params = start(torch.float32)
        state = {buffer: torch.zeros_like(params) for buffer in rule.buffers}
        for step in (1, 2, 3):
            grads = bowl_gradient(params)
            if sick:
                grads[1] = float("nan")
            rule.apply(params, grads, state, step=step, learning_rate=own["learning_rate"], numbers=own)
        results.append(params)
    assert torch.equal(results[0][[0, 2]], results[1][[0, 2]])
    assert results[1][1].isnan().all()


def test_every_optimizer_has_a_namesake() -> None:
    assert set(TWINS) == set(OPTIMIZER.names)


def test_defaults_are_torchs() -> None:
    """Where torch has a default; for momentum it has 0, which is the level sgd."""
    leaf = [torch.zeros(1, requires_grad=True)]
    for name, kind in {
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adagrad": torch.optim.Adagrad,
        "adamax": torch.optim.Adamax,
        "nadam": torch.optim.NAdam,
        "amsgrad": torch.optim.Adam,
        "radam": torch.optim.RAdam,
    }.items():
        theirs = dict(kind(leaf).defaults)
        theirs["learning_rate"] = theirs.pop("lr")
        if "betas" in theirs:
            theirs["beta1"], theirs["beta2"] = theirs.pop("betas")
        for span in OPTIMIZER.level(name).ranges:
            assert span.default == theirs[span.name], f"{name}: {span.name}"


def test_every_optimizer_searches_four_decades_of_learning_rate() -> None:
    for row in OPTIMIZER.levels:
        rate = row.ranges[0]
        assert rate.name == "learning_rate"
        assert rate.log
        assert rate.high / rate.low == pytest.approx(1e4)
