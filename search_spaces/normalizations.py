"""Normalization between a linear map and its activation, or after both, for one member or a stack.

Shape letters: B items, F features; "..." is the members of a stack or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.autograd.function import once_differentiable

from search_spaces.factor import Factor, Level, Range, Source
from search_spaces.torch_kernels import KERNELS, available

EPS = 1e-5
"""Added to every variance, as in torch."""


class Apply(Protocol):
    """Normalizes x [..., B, F] with gain and shift [..., 1, F] and returns the same shape."""

    def __call__(
        self,
        x: Tensor,
        gain: Tensor | None,
        shift: Tensor | None,
        *,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: Tensor | float | None,
        training: bool,
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What the trainer must keep for a norm, and how it is applied."""

    affine: bool
    """Has a trained gain (starts at 1) and shift (starts at 0), each [..., 1, F]."""
    running: bool
    """Keeps running_mean (starts at 0) and running_var (starts at 1), each [..., 1, F]."""
    apply: Apply | None
    """None: nothing is done."""
    after: bool = False
    """Follows the activation instead of preceding it."""
    biased: bool = True
    """The linear map before it keeps its bias."""
    over: Literal["features", "item"] = "features"
    """What one row of x is: the features of one place, or an item with all its places, for which gain and
    shift have an element for every feature of every place."""
    statistics: Callable[[Tensor], BatchStatistics | ItemStatistics] | None = None
    """The training pass with its derivative; None: left to autograd."""


def batch_norm(
    x: Tensor,
    gain: Tensor | None,
    shift: Tensor | None,
    *,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: Tensor | float | None,
    training: bool,
) -> Tensor:
    """gain * (x - mean) / sqrt(var + 1e-5) + shift, with each feature's mean and variance over items.

    In training the batch's own (biased) variance is used, and the running statistics move toward the
    batch's mean and unbiased variance: running += momentum * (batch - running), in place. Otherwise
    the running statistics are used. As torch.nn.BatchNorm1d, with a momentum per member.

    Args:
        x: [..., B, F]; in training B is at least 2.
        gain: [..., 1, F].
        shift: [..., 1, F].
        running_mean: [..., 1, F].
        running_var: [..., 1, F].
        momentum: weight of the new batch, float or [..., 1, 1]; not needed unless training.
        training: whether the batch's own statistics are used.

    Raises:
        ValueError: training on a single item, whose variance is not defined.
    """
    assert gain is not None
    assert shift is not None
    assert running_mean is not None
    assert running_var is not None
    if not training:
        return torch.addcmul(shift, x - running_mean, gain * torch.rsqrt(running_var + EPS))
    assert momentum is not None
    done: tuple[Tensor, BatchStatistics] = _Standardize.apply(x, gain, shift)
    y, statistics = done
    statistics.move(running_mean, running_var, momentum)
    return y


class BatchStatistics:
    """What batch norm takes from a training batch x [..., B, F], and its derivative written out.

    At [64, 32, 32] float32 on one thread of an EPYC core, forward and backward took 0.33 ms against
    0.50 ms when left to autograd, 0.39 ms with torch's own kernel on a transposed copy, and over
    1.2 ms with torch.var_mean, which is slow along any axis but the last (torch 2.14.1, best of 400).
    """

    def __init__(self, x: Tensor):
        """Raises ValueError for a single item, whose variance is not defined."""
        self._items = x.shape[-2]
        if self._items < 2:
            raise ValueError(f"batch_norm needs at least 2 items in a training batch, not {self._items}")
        self._mean = x.sum(-2, keepdim=True).mul_(1 / self._items)
        self._centred = x - self._mean
        self._room = self._centred * self._centred
        self._var = self._room.sum(-2, keepdim=True).mul_(1 / self._items)
        self._inverse_sd = (self._var + EPS).rsqrt_()

    def move(self, running_mean: Tensor, running_var: Tensor, momentum: Tensor | float) -> None:
        """running += momentum * (batch - running), in place, with the unbiased variance; once."""
        weight = torch.as_tensor(momentum, dtype=self._mean.dtype, device=self._mean.device)
        running_mean.lerp_(self._mean, weight)
        running_var.lerp_(self._var.mul_(self._items / (self._items - 1)), weight)

    def output(self, gain: Tensor, shift: Tensor) -> Tensor:
        """gain * (x - mean) / sqrt(var + 1e-5) + shift; once."""
        self._scale = gain * self._inverse_sd
        return torch.addcmul(shift, self._centred, self._scale, out=self._room)

    def pull(self, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives with respect to x, gain and shift from that of the output.

        With z = centred * inverse_sd:  dx = scale * (dy - mean(dy) - z * mean(dy * z)).
        """
        dshift = dy.sum(-2, keepdim=True)
        dx = dy * self._centred
        dgain = dx.sum(-2, keepdim=True).mul_(self._inverse_sd)
        torch.addcmul(dy, self._centred, dgain * self._inverse_sd, value=-1 / self._items, out=dx)
        return dx.sub_(dshift, alpha=1 / self._items).mul_(self._scale), dgain, dshift


class _Standardize(torch.autograd.Function):
    """Batch norm's training pass for autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, BatchStatistics]:
        """Output [..., B, F], and what it was normed by."""
        ctx.statistics = BatchStatistics(x)
        return ctx.statistics.output(gain, shift), ctx.statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, _: None) -> tuple[Tensor, Tensor, Tensor]:
        statistics: BatchStatistics = ctx.statistics
        return statistics.pull(dy)


def layer_norm(
    x: Tensor,
    gain: Tensor | None,
    shift: Tensor | None,
    *,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: Tensor | float | None,
    training: bool,
) -> Tensor:
    """gain * (x - mean) / sqrt(var + 1e-5) + shift, with each item's mean and variance over features.

    As torch.nn.LayerNorm, in training and otherwise; x [..., B, F], gain and shift [..., 1, F].
    """
    # A hand-written derivative was not faster than torch's kernel here (0.37 ms against 0.38 ms).
    assert gain is not None
    assert shift is not None
    return torch.addcmul(shift, functional.layer_norm(x, x.shape[-1:], eps=EPS), gain)


class ItemStatistics:
    """Layer norm's training pass of x [..., B, F], with its derivative written out around torch's kernels."""

    def __init__(self, x: Tensor):
        self._x = x
        self._z, self._mean, self._inverse_sd = KERNELS["native_layer_norm"](x, x.shape[-1:], None, None, EPS)

    def output(self, gain: Tensor, shift: Tensor) -> Tensor:
        """gain * (x - mean) / sqrt(var + 1e-5) + shift; once."""
        self._gain = gain
        return torch.addcmul(shift, self._z, gain)

    def pull(self, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives with respect to x, gain and shift from that of the output."""
        dgain, dshift = (dy * self._z).sum(-2, keepdim=True), dy.sum(-2, keepdim=True)
        dx, *_ = KERNELS["aten.native_layer_norm_backward"](
            dy * self._gain,
            self._x,
            self._x.shape[-1:],
            self._mean,
            self._inverse_sd,
            None,
            None,
            (True, False, False),
        )
        return dx, dgain, dshift


ITEM_STATISTICS = (
    ItemStatistics if available("native_layer_norm", "aten.native_layer_norm_backward") else None
)


def rms_norm(
    x: Tensor,
    gain: Tensor | None,
    shift: Tensor | None,
    *,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: Tensor | float | None,
    training: bool,
) -> Tensor:
    """gain * x / sqrt(mean(x^2) + eps) + shift, with each item's mean square over features.

    torch.nn.RMSNorm, whose eps is the spacing of floats at 1, and then the shift: torch has none, the
    paper adds the layer's bias there. x [..., B, F], gain and shift [..., 1, F].
    """
    assert gain is not None
    assert shift is not None
    return torch.addcmul(shift, functional.rms_norm(x, x.shape[-1:]), gain)


NORM_MOMENTUM = Range(
    name="norm_momentum",
    low=1e-3,
    high=0.5,
    default=0.1,
    log=True,
    meaning="weight of the newest batch in the running mean and variance (torch's convention)",
)
MOMENTUM_NOTE = (
    "norm_momentum is torch's and 001's weight of the new batch (0.1); Keras' and 004's momentum is the "
    "weight of the old average, 1 minus ours (0.99 there is 0.01 here)."
)

# Cost ranks: the framework's own, then numbers to tune, then the time forward and backward at [64, 32, 32]
# float32 on one thread of an EPYC core (torch 2.14.1, best of 150, microseconds): layer_norm 376, rms_norm
# 435; batch_norm takes 338 and comes last, because it has a number to tune.
NORMALIZATION: Factor[Normalization] = Factor(
    name="normalization",
    meaning="what is done to a hidden layer's sums before its activation",
    levels=(
        Level(
            name="none",
            build=Normalization(affine=False, running=False, apply=None),
            enters="structure",
            source=Source(document="001", claim="no normalization if shallow"),
            cost_rank=0,
            formula="x",
        ),
        Level(
            name="batch_norm",
            build=Normalization(affine=True, running=True, apply=batch_norm, statistics=BatchStatistics),
            enters="structure",
            source=Source(
                document="001 004; Ioffe and Szegedy 2015, arXiv:1502.03167",
                claim="batch norm if deep: it keeps gradients stable beyond the start of training",
            ),
            cost_rank=4,
            ranges=(NORM_MOMENTUM,),
            note=f"Before the activation. {MOMENTUM_NOTE}",
        ),
        Level(
            name="batch_norm_after",
            build=Normalization(
                affine=True, running=True, apply=batch_norm, statistics=BatchStatistics, after=True
            ),
            enters="structure",
            source=Source(
                document="001 004; Mishkin et al. 2017, arXiv:1606.02228",
                claim="batch norm after the activation does as well as before it",
            ),
            cost_rank=5,
            ranges=(NORM_MOMENTUM,),
            note=MOMENTUM_NOTE,
            formula="batch_norm of the activation's outputs",
        ),
        Level(
            name="batch_norm_no_bias",
            build=Normalization(
                affine=True, running=True, apply=batch_norm, statistics=BatchStatistics, biased=False
            ),
            enters="structure",
            source=Source(
                document="001 004; Ioffe and Szegedy 2015, arXiv:1502.03167",
                claim="the norm's shift makes the bias of the layer before it redundant",
            ),
            cost_rank=6,
            ranges=(NORM_MOMENTUM,),
            note=f"Before the activation; hidden linear maps have no bias. {MOMENTUM_NOTE}",
            formula="batch_norm of sums without a bias",
        ),
        Level(
            name="layer_norm",
            build=Normalization(affine=True, running=False, apply=layer_norm, statistics=ITEM_STATISTICS),
            enters="structure",
            source=Source(
                document="001; Ba et al. 2016, arXiv:1607.06450",
                claim="layer norm if deep: its statistics are each item's own, in training and at test alike",
            ),
            cost_rank=1,
            note="Before the activation; over the features of one place of an image or step of a sequence.",
        ),
        Level(
            name="layer_norm_all",
            build=Normalization(
                affine=True, running=False, apply=layer_norm, statistics=ITEM_STATISTICS, over="item"
            ),
            enters="structure",
            source=Source(
                document="001 004; Ba et al. 2016, arXiv:1607.06450",
                claim="layer norm over all feature axes of an image, not over its channels alone",
            ),
            cost_rank=3,
            note="Before the activation. Gain and shift have the shape of a whole item, as in torch's "
            "LayerNorm([channels, height, width]). Where a layer has no places (mlp, rnn) it is layer_norm.",
            formula="gain * (x - mean) / sqrt(var + 1e-5) + shift, mean and variance of a whole item",
        ),
        Level(
            name="rms_norm",
            build=Normalization(affine=True, running=False, apply=rms_norm),
            enters="structure",
            source=Source(
                document="Zhang and Sennrich 2019, arXiv:1910.07467; torch 2.14 RMSNorm",
                claim="layer norm without its centring works as well and costs less",
            ),
            cost_rank=2,
            note="Not in the seed documents. Before the activation; the shift is the paper's bias. On a CPU "
            "torch's own is the slower one.",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("batch_norm", "layer_norm"),
)
