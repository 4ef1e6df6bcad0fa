"""Activations against torch.nn.functional, values and derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from search_spaces.activations import ACTIVATION

TWINS: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": functional.sigmoid,
    "tanh": functional.tanh,
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "rrelu": nn.RReLU().eval(),
    "prelu": lambda x: functional.prelu(x, torch.full((1,), 0.25, dtype=x.dtype)),
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "swish_learned": lambda x: x * torch.sigmoid(x),
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "mish": functional.mish,
    "softplus": functional.softplus,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_tanh": functional.hardtanh,
    "hard_swish": functional.hardswish,
    "identity": nn.Identity(),
}

FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_sigmoid": lambda x: x / (1 + torch.exp(-1.702 * x)),
    "relu_squared": lambda x: torch.where(x > 0, x * x, 0.0),
    "swiglu": lambda x: x[..., :400] / (1 + torch.exp(-x[..., :400])) * x[..., 400:],
    "penalized_tanh": lambda x: torch.where(x > 0, 1.0, 0.25) * (1 - 2 / (torch.exp(2 * x) + 1)),
}
"""Where torch has no namesake: the source's formula written in another way."""

POINTS = torch.cat([torch.linspace(-40, 40, 801, dtype=torch.float64), torch.tensor([0.0, -0.0])])


def with_derivative(f: Callable[..., Tensor], x: Tensor, **numbers: Tensor | float) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = f(leaf, **numbers)
    (dx,) = torch.autograd.grad(y.sum(), leaf)
    return y.detach(), dx


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", TWINS)
def test_an_activation_at_its_defaults_equals_its_torch_namesake(name: str, dtype: torch.dtype) -> None:
    row = ACTIVATION.level(name)
    numbers = {span.name: span.default for span in row.ranges} | dict(row.build.learned)
    x = POINTS.to(dtype)
    f = partial(row.build.apply, noise=None) if row.build.noisy else row.build.apply
    ours, theirs = with_derivative(f, x, **numbers), with_derivative(TWINS[name], x)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_without_a_namesake_equals_its_sources_formula(name: str) -> None:
    """To rounding in double precision; between -40 and 40, where the formulas do not overflow."""
    row = ACTIVATION.level(name)
    x = POINTS[:800]  # swiglu gates the first half by the second
    ours = with_derivative(row.build.apply, x, **row.build.learned)
    theirs = with_derivative(FORMULAS[name], x)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-14)


def test_every_activation_that_torch_has_is_compared_with_it() -> None:
    """Others are compared with their source's formula where one is written above."""
    compared = TWINS.keys() | FORMULAS.keys()
    assert compared <= set(ACTIVATION.names)
    assert not [name for name in set(ACTIVATION.names) - compared if hasattr(functional, name)]


def test_the_sigmoid_form_stays_within_a_fiftieth_of_exact_gelu() -> None:
    """The paper's 1.702: its largest error is 0.0203, near x = 2."""
    difference = ACTIVATION.level("gelu_sigmoid").build.apply(POINTS) - functional.gelu(POINTS)
    assert difference.abs().max() == pytest.approx(0.0203, abs=1e-4)


def test_each_member_leaks_at_its_own_slope() -> None:
    slopes = (0.001, 0.01, 0.2, 0.5)
    x = torch.stack([POINTS.view(1, -1)] * len(slopes))
    column = torch.tensor(slopes, dtype=torch.float64).view(-1, 1, 1)
    leaky = ACTIVATION.level("leaky_relu").build.apply
    values, derivatives = with_derivative(leaky, x, negative_slope=column)
    for k, slope in enumerate(slopes):
        y, dy = with_derivative(functional.leaky_relu, x[k], negative_slope=slope)
        assert torch.equal(values[k], y)
        assert torch.equal(derivatives[k], dy)


def test_a_member_that_overflowed_leaves_infinities_as_torch_does() -> None:
    x = torch.tensor([float("inf"), -float("inf")])
    y = ACTIVATION.level("leaky_relu").build.apply(x, negative_slope=0.1)
    assert torch.equal(y, functional.leaky_relu(x, 0.1))
