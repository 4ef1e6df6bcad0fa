"""How the weights of a linear map start: each level scales the same random draw.

Weights are [fan_in, fan_out] (used as x @ W), the transpose of what torch.nn.Linear stores. All
normal levels draw the same standard normal numbers and all uniform levels the same uniform ones,
so that under one random stream two levels differ by their rule and not by their luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.factor import Factor, Level, Range, Source

Draw = Callable[[int, int, np.random.Generator], NDArray[np.float32]]
"""(fan_in, fan_out, random stream) -> values."""


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """How one linear map with `fan_in` inputs and `fan_out` outputs starts.

    Call `weight` first, then `bias`, once per map on the same stream: every level takes the same
    number of draws of its kind, so the next map's draws stay paired between levels too.
    """

    weight: Draw
    """-> float32 [fan_in, fan_out]."""
    bias: Draw
    """-> float32 [fan_out]."""


def normal(variance: Callable[[int, int], float]) -> Draw:
    """Weights from N(0, variance(fan_in, fan_out))."""

    def draw(fan_in: int, fan_out: int, rng: np.random.Generator) -> NDArray[np.float32]:
        standard = rng.standard_normal((fan_in, fan_out), dtype=np.float32)
        return standard * np.float32(math.sqrt(variance(fan_in, fan_out)))

    return draw


def uniform(variance: Callable[[int, int], float]) -> Draw:
    """Weights from U(-r, r) with r = sqrt(3 * variance(fan_in, fan_out))."""

    def draw(fan_in: int, fan_out: int, rng: np.random.Generator) -> NDArray[np.float32]:
        standard = rng.random((fan_in, fan_out), dtype=np.float32)
        return (2 * standard - 1) * np.float32(math.sqrt(3 * variance(fan_in, fan_out)))

    return draw


def he(fan_in: int, fan_out: int) -> float:
    """2 / fan_in: keeps the second moment of ReLU outputs from layer to layer."""
    return 2 / fan_in


def glorot(fan_in: int, fan_out: int) -> float:
    """1 / fan_avg: the compromise between the forward and the backward pass of a linear map."""
    return 2 / (fan_in + fan_out)


def lecun(fan_in: int, fan_out: int) -> float:
    """1 / fan_in: keeps the variance of a linear map's outputs."""
    return 1 / fan_in


def one(fan_in: int, fan_out: int) -> float:
    """1, whatever the shape."""
    return 1.0


def third_of_lecun(fan_in: int, fan_out: int) -> float:
    """1 / (3 fan_in): the variance of U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    return 1 / (3 * fan_in)


def orthogonal(fan_in: int, fan_out: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random matrix with orthonormal rows or columns, whichever are fewer (Haar distributed).

    The Q of the QR decomposition of a standard normal matrix, with the signs of R's diagonal.
    """
    standard = rng.standard_normal((fan_in, fan_out), dtype=np.float32).astype(np.float64)
    tall = standard if fan_in >= fan_out else standard.T
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))
    return np.ascontiguousarray(q if fan_in >= fan_out else q.T, dtype=np.float32)


def zero_bias(fan_in: int, fan_out: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Zeros; the draws of `random_bias` are taken and dropped, which keeps later maps paired."""
    rng.random(fan_out, dtype=np.float32)
    return np.zeros(fan_out, dtype=np.float32)


def random_bias(fan_in: int, fan_out: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as torch.nn.Linear does."""
    return (2 * rng.random(fan_out, dtype=np.float32) - 1) * np.float32(1 / math.sqrt(fan_in))


INIT_GAIN = Range(
    name="init_gain",
    low=0.25,
    high=4.0,
    default=1.0,
    log=True,
    meaning="factor on every initial weight, applied by the trainer (biases are left alone)",
)


# Cost ranks: the framework's own, then by what a 64 x 64 map takes (microseconds, one thread of an EPYC
# core, numpy, best of 30): uniform 17, normal 44, orthogonal 182. All of it is spent once, before step 1.
def _level(
    name: str, weight: Draw, rank: int, source: Source, bias: Draw = zero_bias, note: str = ""
) -> Level[Initializer]:
    return Level(
        name=name,
        build=Initializer(weight=weight, bias=bias),
        enters="weights",
        source=source,
        cost_rank=rank,
        ranges=(INIT_GAIN,),
        note=note,
    )


HE = Source(
    document="001 002 003 004; He et al. 2015, arXiv:1502.01852",
    claim="variance 2 / fan_in keeps signals alive under ReLU and its relatives",
)
GLOROT = Source(
    document="001 002 003 004; Glorot and Bengio 2010 (PMLR 9)",
    claim="variance 1 / fan_avg suits tanh, logistic and linear layers in both directions",
)
LECUN = Source(
    document="001 004; LeCun et al. 1998 (Efficient BackProp); Klambauer et al. 2017, arXiv:1706.02515",
    claim="variance 1 / fan_in keeps a linear map's variance; SELU self-normalizes with it",
)
UNTRUNCATED = "As in torch.nn.init, the normal is not truncated (Keras truncates it at two SD)."

INITIALIZER: Factor[Initializer] = Factor(
    name="initializer",
    meaning="how weights and biases start",
    levels=(
        _level("he_normal", normal(he), 4, HE, note=UNTRUNCATED),
        _level("he_uniform", uniform(he), 1, HE),
        _level("glorot_normal", normal(glorot), 5, GLOROT, note=UNTRUNCATED),
        _level("glorot_uniform", uniform(glorot), 2, GLOROT),
        _level("lecun_normal", normal(lecun), 6, LECUN, note=UNTRUNCATED),
        _level("lecun_uniform", uniform(lecun), 3, LECUN),
        _level(
            "orthogonal",
            orthogonal,
            8,
            Source(
                document="001; Saxe et al. 2014, arXiv:1312.6120",
                claim="an orthogonal matrix keeps the norm of its input: stable variance at the start",
            ),
            note="Gain 1, as in torch.nn.init.orthogonal_; exact norms only where fan_in <= fan_out.",
        ),
        _level(
            "std_normal",
            normal(one),
            7,
            Source(
                document="000 001 003",
                claim="N(0, 1) was typical once; outputs then vary more than inputs, layer after layer",
            ),
            note="A foil: nobody recommends it. 000 scales it by batch size, where fan_in is meant.",
        ),
        _level(
            "torch_default",
            uniform(third_of_lecun),
            0,
            Source(
                document="001; torch 2.14 nn.Linear.reset_parameters",
                claim="nn.Linear starts as He uniform / sqrt(6), with random biases of no benefit",
            ),
            bias=random_bias,
            note="Weights and biases are both U(-1/sqrt(fan_in), 1/sqrt(fan_in)).",
        ),
    ),
    framework_default="torch_default",
    textbook_shallow=("he_normal", "he_uniform"),
    textbook_deep=("he_normal", "he_uniform"),
)
