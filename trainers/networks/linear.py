"""Linear maps: how they start and how a stack of them is applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.activation_gains import activation_gain
from search_spaces.bias import BIAS
from search_spaces.config import Config
from search_spaces.initializers import INITIALIZER, Initializer
from search_spaces.weight_draws import Draw
from trainers.tensors.matmul import by_numpy, product

Floats = NDArray[np.float64]


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., B, F] @ weight [..., F, G] + bias [..., 1, G], for a member or a stack; one call of torch's."""
    if x.ndim == weight.ndim == 3 and not torch.is_grad_enabled() and by_numpy(x):
        y = product(x, weight)
        return y if bias is None else y.add_(bias)
    if bias is None:
        return torch.matmul(x, weight)
    if x.ndim == 3:
        return torch.baddbmm(bias, x, weight)
    return torch.addmm(bias, x, weight)


FULL = 16
"""Columns that a product of torch's is filled up to on a CPU: in a stack of 64, [64, 100] x [100, 10] took
11.4 us a member and [64, 100] x [100, 16] took 3.3 us (torch 2.14.1 with MKL 2024.2, one thread of an EPYC
core)."""


def filled_up(x: Tensor) -> Tensor:
    """x [..., G] with columns of zeros up to the next multiple of 16, where torch computes those faster."""
    missing = 0 if x.device.type != "cpu" or by_numpy(x) else -x.shape[-1] % FULL
    return functional.pad(x, (0, missing)) if missing else x


def to_outputs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As `affine`, for a last map, which has few columns."""
    return affine(x, filled_up(weight), filled_up(bias))[..., : weight.shape[-1]]


def symmetrized(weight: Tensor) -> Tensor:
    """(V + V^T) / 2 of a square V [..., F, F]; any other shape as it is."""
    if weight.shape[-1] != weight.shape[-2]:
        return weight
    return (weight + weight.transpose(-1, -2)) / 2


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """The initial weights and biases of a config's linear maps."""

    initializer: Initializer
    bias: Draw
    gain: float
    """On every weight: `init_gain`, times the power of the batch size that the initializer has."""
    activation_gain: float
    """On weights that read activations; 1 unless the initializer follows the activation."""
    symmetric: bool
    """Square weights of hidden layers are read as (V + V^T) / 2."""

    @staticmethod
    def of(config: Config) -> InitialWeights:
        """The start that a config describes."""
        initializer = INITIALIZER.level(config.levels["initializer"]).build
        gain = config.numbers.get("init_gain", 1.0) * config.setting.batch_size**initializer.batch_power
        follows = initializer.follows_activation
        return InitialWeights(
            initializer=initializer,
            bias=BIAS.level(config.levels["bias"]).build or initializer.bias,
            gain=float(gain),
            activation_gain=activation_gain(config.levels["activation"], config.numbers) if follows else 1.0,
            symmetric=config.levels.get("weight_constraint") == "symmetric",
        )

    def draw(
        self,
        fan_in: int,
        fan_out: int,
        draws: np.random.Generator,
        *,
        reads_inputs: bool,
        hidden: bool,
        maps: int = 1,
        columns: int | None = None,
    ) -> tuple[Floats, Floats]:
        """Weight [fan_in, maps * columns] and bias [maps * columns] of one linear map.

        Args:
            fan_in: what one output sums over.
            fan_out: outputs.
            draws: the member's stream; maps are drawn in order, each its weight and then its bias.
            reads_inputs: whether it reads the task's items and not activations.
            hidden: whether it leads into a hidden layer.
            maps: several maps side by side, each with `fan_out` outputs (a gated layer has two).
            columns: outputs of one map where they are not `fan_out`, as the channels of a convolution are.
        """
        columns = fan_out if columns is None else columns
        gain = self.gain * (1.0 if reads_inputs else self.activation_gain)
        weights, biases = [], []
        for _ in range(maps):
            weight = self.initializer.weight(fan_in, fan_out, draws, columns=columns).astype(np.float64)
            if self.symmetric and hidden and fan_in == columns and maps == 1:
                # Off the diagonal (V + V^T) / 2 would halve the variance; this V is its own symmetric part.
                weight = (weight + weight.T) / np.sqrt(2)
            weights.append(gain * weight)
            biases.append(self.bias(fan_in, columns, draws).astype(np.float64))
        return np.concatenate(weights, axis=1), np.concatenate(biases)


def equal_parameters(widths: Sequence[int], count: Callable[[Sequence[int], int], int]) -> tuple[int, ...]:
    """Widths of gated layers that leave the number of parameters nearest to what it was.

    All widths shrink by one factor, in steps of a unit of the widest, and are rounded.

    Args:
        widths: units of each hidden layer, not gated.
        count: (widths, maps) -> parameters when every unit has `maps` sums; grows with the widths.
    """
    target, widest = count(widths, 1), max(widths)

    def shrunk(to: int) -> tuple[int, ...]:
        return tuple(max(1, round(width * to / widest)) for width in widths)

    low, high = 1, widest
    while low < high:
        middle = (low + high + 1) // 2
        if count(shrunk(middle), 2) <= target:
            low = middle
        else:
            high = middle - 1
    both = (shrunk(low), shrunk(min(low + 1, widest)))
    return min(both, key=lambda w: abs(count(w, 2) - target))
