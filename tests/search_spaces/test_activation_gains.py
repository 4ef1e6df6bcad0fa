"""What an activation leaves of a signal, and the gain that makes up for it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from search_spaces.activation_gains import activation_gain
from search_spaces.activations import ACTIVATION


def defaults(name: str) -> dict[str, float]:
    return {span.name: span.default for span in ACTIVATION.level(name).ranges}


CLOSED = {
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "prelu": math.sqrt(2 / (1 + 0.25**2)),
    # a slope's second moment is its squared mean plus its variance, a twelfth of the squared range
    "rrelu": math.sqrt(2 / (1 + (11 / 48) ** 2 + (5 / 24) ** 2 / 12)),
    "relu_squared": math.sqrt(2 / 3),
    "identity": 1.0,
}
"""Where the moment has a closed form."""


@pytest.mark.parametrize("name", CLOSED)
def test_the_gain_equals_its_closed_form(name: str) -> None:
    # 1e-4: the noise of rrelu is 64 midpoints; the others agree to rounding
    tolerance = 1e-4 if name == "rrelu" else 1e-12
    assert activation_gain(name, defaults(name)) == pytest.approx(CLOSED[name], rel=tolerance)


def test_selu_needs_no_gain_which_is_what_its_constants_are_for() -> None:
    assert activation_gain("selu", {}) == pytest.approx(1, abs=1e-7)


def test_the_gain_equals_torchs_where_torchs_is_the_moments() -> None:
    assert activation_gain("relu", {}) == pytest.approx(nn.init.calculate_gain("relu"))
    assert activation_gain("identity", {}) == pytest.approx(nn.init.calculate_gain("linear"))


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.5])
def test_the_gain_of_leaky_relu_is_torchs_at_every_slope(slope: float) -> None:
    ours = activation_gain("leaky_relu", {"negative_slope": slope})
    assert ours == pytest.approx(nn.init.calculate_gain("leaky_relu", slope))


def test_torchs_gains_of_tanh_and_selu_are_conventions() -> None:
    assert nn.init.calculate_gain("tanh") == pytest.approx(5 / 3)
    assert activation_gain("tanh", {}) == pytest.approx(1.5925, abs=1e-4)
    assert nn.init.calculate_gain("selu") == 3 / 4


@pytest.mark.parametrize("name", ["elu", "silu", "gelu", "mish"])
def test_torch_has_no_gain_for_the_smooth_ones(name: str) -> None:
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain(name)  # type: ignore[arg-type]


def sampled(name: str) -> Tensor:
    """f(z)^2 of 400,000 draws."""
    build = ACTIVATION.level(name).build
    draws = torch.Generator().manual_seed(11)
    z = torch.randn(400_000, 2 if build.gated else 1, generator=draws, dtype=torch.float64)
    given = {"noise": torch.rand(z.shape, generator=draws, dtype=z.dtype)} if build.noisy else {}
    return build.apply(z, **defaults(name), **build.learned, **given).square()


@pytest.mark.parametrize("name", ACTIVATION.names)
def test_the_gain_restores_the_second_moment_of_drawn_numbers(name: str) -> None:
    """Within five standard errors of the sample."""
    squares = sampled(name) * activation_gain(name, defaults(name)) ** 2
    error = squares.std().item() / math.sqrt(len(squares))
    assert squares.mean().item() == pytest.approx(1, abs=5 * error)


def depth_thirty(name: str, gain: float) -> float:
    """Second moment of the sums after 30 layers of 256 units: the median of 8 networks with 64 items."""
    build = ACTIVATION.level(name).build
    draws = torch.Generator().manual_seed(3)
    z = torch.randn(8, 64, 256, generator=draws, dtype=torch.float64)
    for _ in range(30):
        weight = torch.randn(8, 256, 256, generator=draws, dtype=torch.float64) * (gain / 16)
        z = build.apply(z, **defaults(name)) @ weight
    return z.square().mean(-1).median().item()


@pytest.mark.parametrize("name", ["silu", "gelu", "mish", "elu", "selu", "tanh", "softplus"])
def test_thirty_layers_change_the_signal_far_less_than_under_hes_gain(name: str) -> None:
    """SiLU: 0.006 of it is left, and 3e-9 with He's; in orders of magnitude less than half of the change."""
    ours, hes = (depth_thirty(name, g) for g in (activation_gain(name, defaults(name)), math.sqrt(2)))
    assert abs(math.log(ours)) < abs(math.log(hes)) / 2


@pytest.mark.parametrize("name", ["elu", "selu", "tanh", "softplus"])
def test_where_the_balance_is_stable_thirty_layers_keep_the_signal(name: str) -> None:
    """These hand on less of a change in their input's second moment than came in (per layer, about 1)."""
    assert depth_thirty(name, activation_gain(name, defaults(name))) == pytest.approx(1, abs=0.2)
