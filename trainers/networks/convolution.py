"""The convolution of a stack of members: each has weights of its own.

Shape letters: K members, B items, H rows, W columns, C channels in, G channels out, N = K * B.

A member may be convolved by itself, in a loop, or the whole stack at once, as one convolution in K groups.
Forward and backward with 32 items, float32, on one thread of an EPYC core (torch 2.14.1, median of the
best of three runs, K = 1, 4, 8, 32; `python -m tests.benchmarks.convolution_forms`), time as a multiple of
the loop's:

(to be measured)
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

GROUPED_PLACES, GROUPED_NUMBERS = 64, 1024
"""Up to so many places (rows times columns), and numbers at them (times channels), of an item the stack is
convolved at once. A rule of shapes alone, not of the clock, so that a run can be repeated to the bit."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: tuple[int, int]) -> Tensor:
    """Each member's items convolved with its own weights; zeros around keep the number of places.

    Args:
        x: [K, B, H, W, C].
        weight: [K, rows * columns * C, G], the places of the kernel row by row, channels last.
        bias: [K, 1, G], or None.
        kernel: rows and columns of the kernel, odd.

    Returns:
        [K, B, H, W, G], contiguous.
    """
    places, channels = x.shape[2] * x.shape[3], x.shape[4]
    grouped = places <= GROUPED_PLACES and places * channels <= GROUPED_NUMBERS
    return (convolve_grouped if grouped else convolve_looped)(x, weight, bias, kernel)


def convolve_looped(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: tuple[int, int]) -> Tensor:
    """As `convolve`, one member after the other."""
    padding = [side // 2 for side in kernel]
    filters_KGCrc = torch.unflatten(weight, 1, (*kernel, x.shape[-1])).permute(0, 4, 3, 1, 2)
    biases = [None] * len(x) if bias is None else bias[:, 0].unbind()
    rows = zip(x.permute(0, 1, 4, 2, 3).unbind(), filters_KGCrc.unbind(), biases, strict=True)
    return torch.stack([functional.conv2d(*one, padding=padding).permute(0, 2, 3, 1) for one in rows])


def convolve_grouped(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: tuple[int, int]) -> Tensor:
    """As `convolve`, the whole stack at once: member k's channels are the k-th group."""
    members, items, height, width, channels = x.shape
    padding = [side // 2 for side in kernel]
    filters = torch.unflatten(weight, 1, (*kernel, channels)).permute(0, 4, 3, 1, 2).flatten(0, 1)
    side_by_side = x.permute(1, 0, 4, 2, 3).reshape(items, members * channels, height, width)
    biases = None if bias is None else bias.flatten()
    sums = functional.conv2d(side_by_side, filters, biases, padding=padding, groups=members)
    return torch.unflatten(sums, 1, (members, -1)).permute(1, 0, 3, 4, 2).contiguous()


def pooled(x: Tensor) -> Tensor:
    """The largest of each 2 x 2 places (of 2 along a single row or column), the odd one at the end left out.

    x [K, B, H, W, C] -> [K, B, H // 2, W // 2, C]; as torch.nn.MaxPool2d(2). An axis of one place keeps it.
    """
    window = [2 if side > 1 else 1 for side in x.shape[2:4]]
    y_NCHW = functional.max_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), window)
    return torch.unflatten(y_NCHW.permute(0, 2, 3, 1), 0, x.shape[:2])
