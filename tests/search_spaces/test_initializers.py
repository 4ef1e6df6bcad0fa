"""Initializers against torch.nn.init, in distribution and from fixed seeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from search_spaces.initializers import INITIALIZER, Initializer

FAN_IN, FAN_OUT = 300, 200


def linear_default(weight: Tensor) -> Tensor:
    return nn.init.kaiming_uniform_(weight, a=math.sqrt(5))


def cut_normal(variance: float) -> Callable[[Tensor], Tensor]:
    """torch's truncated normal, widened by Keras' constant so that `variance` is left after the cut."""
    sd = math.sqrt(variance) / 0.87962566103423978
    return lambda w: nn.init.trunc_normal_(w, std=sd, a=-2 * sd, b=2 * sd)


TWINS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_normal": nn.init.kaiming_normal_,
    "he_uniform": nn.init.kaiming_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "lecun_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "lecun_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
    "he_truncated": cut_normal(2 / FAN_IN),
    "he_fan_out_normal": lambda w: nn.init.kaiming_normal_(w, mode="fan_out"),
    "he_fan_out_uniform": lambda w: nn.init.kaiming_uniform_(w, mode="fan_out"),
    "he_fan_avg_normal": lambda w: nn.init.xavier_normal_(w, gain=math.sqrt(2)),
    "he_fan_avg_uniform": lambda w: nn.init.xavier_uniform_(w, gain=math.sqrt(2)),
    "glorot_truncated": cut_normal(2 / (FAN_IN + FAN_OUT)),
    "lecun_truncated": cut_normal(1 / FAN_IN),
    "he_fan_out_truncated": cut_normal(2 / FAN_OUT),
    "he_fan_avg_truncated": cut_normal(4 / (FAN_IN + FAN_OUT)),
    "lecun_fan_out_normal": lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="linear"),
    "lecun_fan_out_uniform": lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="linear"),
    "lecun_fan_out_truncated": cut_normal(1 / FAN_OUT),
    "constant_variance": lambda w: nn.init.normal_(w, std=0.05),
    "std_normal": nn.init.normal_,
    "torch_default": linear_default,
}


def level(name: str) -> Initializer:
    return INITIALIZER.level(name).build


def torch_weight(name: str, fan_in: int, fan_out: int) -> np.ndarray:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return TWINS[name](torch.empty(fan_out, fan_in)).numpy().T


@pytest.mark.parametrize("name", TWINS)
def test_weights_are_distributed_as_torchs(name: str) -> None:
    """Two samples of n = 60000 draws each, from fixed seeds, so the outcome never changes.

    Bounds are those a right level passes with probability 0.999 or more: 1.95 sqrt(2 / n) = 0.0113
    for the Kolmogorov-Smirnov distance, five standard errors for mean and SD. The nearest wrong
    levels (cut or not at equal variance, LeCun for Glorot) are at least 0.013 away.
    """
    ours = level(name).weight(FAN_IN, FAN_OUT, np.random.default_rng(11)).ravel()
    theirs = torch_weight(name, FAN_IN, FAN_OUT).ravel()
    n = ours.size
    assert stats.ks_2samp(ours, theirs).statistic < 1.95 * math.sqrt(2 / n)
    spread = float(theirs.std())
    assert float(ours.mean()) == pytest.approx(0, abs=5 * spread / math.sqrt(n))
    assert float(ours.std()) == pytest.approx(spread, rel=5 / math.sqrt(n))


@pytest.mark.parametrize("name", [n for n in TWINS if n.endswith(("uniform", "truncated", "default"))])
def test_bounded_weights_fill_torchs_bounds_and_stay_inside(name: str) -> None:
    ours = level(name).weight(FAN_IN, FAN_OUT, np.random.default_rng(11))
    bound = np.abs(torch_weight(name, FAN_IN, FAN_OUT)).max()
    assert np.abs(ours).max() == pytest.approx(bound, rel=1e-3)


def test_the_distance_bound_tells_levels_apart() -> None:
    """The comparison above would not mean much if any level passed for any other."""
    n = FAN_IN * FAN_OUT
    for name in TWINS:
        theirs = torch_weight(name, FAN_IN, FAN_OUT).ravel()
        # Entries of a wide orthogonal matrix are all but LeCun normal; its own tests tell them apart.
        for other in set(TWINS) - {name, "orthogonal", "lecun_normal"}:
            ours = level(other).weight(FAN_IN, FAN_OUT, np.random.default_rng(11)).ravel()
            assert stats.ks_2samp(ours, theirs).statistic > 1.95 * math.sqrt(2 / n), f"{other} for {name}"


def test_the_default_bias_is_distributed_as_nn_linears_and_all_others_are_zero() -> None:
    for row in INITIALIZER.levels:
        bias = row.build.bias(4, 20_000, np.random.default_rng(5))
        if row.name != "torch_default":
            assert not bias.any()
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            theirs = nn.Linear(4, 20_000).bias.detach().numpy()
        assert stats.ks_2samp(bias, theirs).statistic < 1.95 * math.sqrt(2 / bias.size)


@pytest.mark.parametrize(
    ("name", "twin"),
    [("zeros", nn.init.zeros_), ("constant", lambda w: nn.init.constant_(w, 0.005))],
    ids=["zeros", "constant"],
)
def test_equal_weights_are_torchs(name: str, twin: Callable[[Tensor], Tensor]) -> None:
    theirs = twin(torch.empty(5, 7)).numpy().T
    assert np.array_equal(level(name).weight(7, 5, np.random.default_rng(0)), theirs)


def test_every_initializer_that_torch_has_is_compared_with_it() -> None:
    """Zeros and constants are, above; the trainer scales `batch_scaled` and activation gains further."""
    torchs = {name.strip("_") for name in dir(nn.init)} - {"zeros", "constant"}
    assert TWINS.keys() <= set(INITIALIZER.names)
    assert not (set(INITIALIZER.names) - TWINS.keys()) & torchs


def test_truncated_weights_are_cut_and_still_have_the_variance_of_their_rule() -> None:
    w = level("he_truncated").weight(FAN_IN, FAN_OUT, np.random.default_rng(11)).astype(np.float64)
    assert w.var() == pytest.approx(2 / FAN_IN, rel=5 * math.sqrt(2 / w.size))
    assert np.abs(w).max() <= 2 * math.sqrt(2 / FAN_IN) / 0.8796


@pytest.mark.parametrize(("fan_in", "fan_out"), [(12, 12), (5, 12), (12, 5), (1, 4), (4, 1)])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(fan_in: int, fan_out: int) -> None:
    w = level("orthogonal").weight(fan_in, fan_out, np.random.default_rng(1)).astype(np.float64)
    product = w.T @ w if fan_in >= fan_out else w @ w.T
    np.testing.assert_allclose(product, np.eye(min(fan_in, fan_out)), atol=1e-6)


def test_orthogonal_weights_favour_no_sign() -> None:
    """Without the sign correction QR gives diagonals of one sign: its bias is the usual mistake here.

    4000 rotations of size 2; half have determinant 1, +-5 standard errors of a fair coin.
    """
    draws = np.random.default_rng(2)
    several = [level("orthogonal").weight(2, 2, draws) for _ in range(4000)]
    assert np.mean([w[0, 0] > 0 for w in several]) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(4000))
    assert np.mean([np.linalg.det(w) > 0 for w in several]) == pytest.approx(
        0.5, abs=5 * 0.5 / math.sqrt(4000)
    )


def test_levels_of_one_kind_scale_the_same_draws_in_every_layer() -> None:
    """Under one stream the second layer's weights are paired too, whatever the first layer's bias was."""
    normals = [n for n in INITIALIZER.names if n.endswith("_normal")] + ["constant_variance", "batch_scaled"]
    uniforms = [n for n in INITIALIZER.names if n.endswith("_uniform")] + ["torch_default"]
    cut = [n for n in INITIALIZER.names if n.endswith("_truncated")]
    for kind in (normals, uniforms, cut):
        shapes = []
        for name in kind:
            draws = np.random.default_rng(4)
            for fan_in, fan_out in ((6, 9), (9, 3)):
                w = level(name).weight(fan_in, fan_out, draws)
                level(name).bias(fan_in, fan_out, draws)
            shapes.append(w / np.abs(w).max())
        for other in shapes[1:]:
            np.testing.assert_allclose(other, shapes[0], rtol=1e-5)


def test_the_same_stream_gives_the_same_weights() -> None:
    for row in INITIALIZER.levels:
        first, second = (row.build.weight(7, 5, np.random.default_rng(9)) for _ in range(2))
        assert first.dtype == np.float32
        assert np.array_equal(first, second)
