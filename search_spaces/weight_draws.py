"""The random draws that weights and biases start from: distributions, and variances by fan.

Weights are [fan_in, fan_out] (used as x @ W), the transpose of what torch.nn.Linear stores. All normal draws
take the same standard normal numbers, and all uniform and truncated normal ones the same uniform numbers, so
that under one random stream two levels differ by their rule and not by their luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import scipy
from numpy.typing import NDArray

Draw = Callable[[int, int, np.random.Generator], NDArray[np.float32]]
"""(fan_in, fan_out, random stream) -> values."""


class WeightDraw(Protocol):
    """(fan_in, fan_out, random stream) -> weights."""

    def __call__(
        self, fan_in: int, fan_out: int, rng: np.random.Generator, *, columns: int | None = None
    ) -> NDArray[np.float32]:
        """Float32 [fan_in, columns]; None means `fan_out` columns, and a convolution has fewer."""
        ...


def normal(variance: Callable[[int, int], float]) -> WeightDraw:
    """Weights from N(0, variance(fan_in, fan_out))."""

    def draw(
        fan_in: int, fan_out: int, rng: np.random.Generator, *, columns: int | None = None
    ) -> NDArray[np.float32]:
        standard = rng.standard_normal((fan_in, columns or fan_out), dtype=np.float32)
        return standard * np.float32(math.sqrt(variance(fan_in, fan_out)))

    return draw


def uniform(variance: Callable[[int, int], float]) -> WeightDraw:
    """Weights from U(-r, r) with r = sqrt(3 * variance(fan_in, fan_out))."""

    def draw(
        fan_in: int, fan_out: int, rng: np.random.Generator, *, columns: int | None = None
    ) -> NDArray[np.float32]:
        standard = rng.random((fan_in, columns or fan_out), dtype=np.float32)
        return (2 * standard - 1) * np.float32(math.sqrt(3 * variance(fan_in, fan_out)))

    return draw


CUT = 2.0
"""Standard deviations at which a truncated normal ends."""
CUT_SD = 0.87962566103423978
"""Standard deviation of N(0, 1) between -2 and 2, by which Keras widens the normal before the cut."""


def truncated(variance: Callable[[int, int], float]) -> WeightDraw:
    """Weights from a normal cut at two of its standard deviations, with `variance` after the cut.

    As Keras does: weight = sqrt(variance) / 0.8796 * z with z from N(0, 1) given |z| < 2. Each z is the
    quantile of one uniform number.
    """

    def draw(
        fan_in: int, fan_out: int, rng: np.random.Generator, *, columns: int | None = None
    ) -> NDArray[np.float32]:
        share = rng.random((fan_in, columns or fan_out), dtype=np.float32).astype(np.float64)
        below, above = scipy.special.ndtr(-CUT), scipy.special.ndtr(CUT)
        z = scipy.special.ndtri(below + share * (above - below))
        return (z * (math.sqrt(variance(fan_in, fan_out)) / CUT_SD)).astype(np.float32)

    return draw


def constant(value: float) -> WeightDraw:
    """Every weight is `value`; nothing is drawn."""

    def draw(
        fan_in: int, fan_out: int, rng: np.random.Generator, *, columns: int | None = None
    ) -> NDArray[np.float32]:
        return np.full((fan_in, columns or fan_out), value, dtype=np.float32)

    return draw


CONSTANT = 0.005
"""A value close to 0, as 002 asks; at 0 itself no gradient would reach a hidden layer."""


def he(fan_in: int, fan_out: int) -> float:
    """2 / fan_in: keeps the second moment of ReLU outputs from layer to layer."""
    return 2 / fan_in


def he_backward(fan_in: int, fan_out: int) -> float:
    """2 / fan_out: keeps the second moment of gradients from layer to layer under ReLU."""
    return 2 / fan_out


def he_average(fan_in: int, fan_out: int) -> float:
    """2 / fan_avg: Glorot's compromise for ReLU."""
    return 4 / (fan_in + fan_out)


def glorot(fan_in: int, fan_out: int) -> float:
    """1 / fan_avg: the compromise between the forward and the backward pass of a linear map."""
    return 2 / (fan_in + fan_out)


def lecun(fan_in: int, fan_out: int) -> float:
    """1 / fan_in: keeps the variance of a linear map's outputs."""
    return 1 / fan_in


def lecun_backward(fan_in: int, fan_out: int) -> float:
    """1 / fan_out: keeps the variance of a linear map's gradients."""
    return 1 / fan_out


def one(fan_in: int, fan_out: int) -> float:
    """1, whatever the shape."""
    return 1.0


FIXED_SD = 0.05
"""Keras' RandomNormal default, whatever the shape."""


def fixed(fan_in: int, fan_out: int) -> float:
    """0.05^2, whatever the shape."""
    return FIXED_SD**2


def third_of_lecun(fan_in: int, fan_out: int) -> float:
    """1 / (3 fan_in): the variance of U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    return 1 / (3 * fan_in)


def orthogonal(
    fan_in: int, fan_out: int, rng: np.random.Generator, *, columns: int | None = None
) -> NDArray[np.float32]:
    """A random matrix with orthonormal rows or columns, whichever are fewer (Haar distributed).

    The Q of the QR decomposition of a standard normal matrix, with the signs of R's diagonal.
    """
    columns = columns or fan_out
    standard = rng.standard_normal((fan_in, columns), dtype=np.float32).astype(np.float64)
    tall = standard if fan_in >= columns else standard.T
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))
    return np.ascontiguousarray(q if fan_in >= columns else q.T, dtype=np.float32)


def zero_bias(fan_in: int, fan_out: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Zeros; the draws of `random_bias` are taken and dropped, which keeps later maps paired."""
    rng.random(fan_out, dtype=np.float32)
    return np.zeros(fan_out, dtype=np.float32)


def random_bias(fan_in: int, fan_out: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as torch.nn.Linear does."""
    return (2 * rng.random(fan_out, dtype=np.float32) - 1) * np.float32(1 / math.sqrt(fan_in))
