"""The convolution of a stack of members: each has weights of its own.

Shape letters: K members, B items, H rows, W columns, C channels in, G channels out, N = K * B, P = H * W,
T places of a kernel.

There are three forms: a loop over the members; the whole stack at once, as one convolution in K groups; and
every place's window copied side by side, then one batched matrix product. Processor time of a forward and
backward pass with 32 items, float32, on one busy EPYC core (torch 2.14.1, fastest pass of one run each;
`python -m tests.benchmarks.convolution_forms`), the loop's in ms and the others' as multiples of it:

    places  in  out |  K=1  grouped unfolded |  K=8  grouped unfolded |  K=32  grouped unfolded
     8x8     1    8 |  1.4     0.36     0.21 |   4.6    0.36     0.19 |   12.4    0.52     0.32
     8x8     8    8 |  0.9     0.72     1.60 |   4.7    0.87     2.46 |   20.7    0.60     3.14
     8x8    32   32 |  3.0     0.76     2.30 |  24.9    0.93     2.22 |   78.9    1.53     4.23
     4x4     8    8 |  0.6     0.94     1.18 |   4.7    0.37     0.72 |   18.4    0.23     0.83
     4x4    32   32 |  1.9     0.84     1.28 |  12.0    0.63     1.19 |   23.3    0.90     2.10
    16x16    8    8 |  1.5     0.96     4.33 |  10.0    1.27     4.74 |   36.4    1.14     9.36
    16x16   32   32 |  8.5     1.04     2.26 |  61.6    1.06     4.75 |  299.1    2.02        -
    28x28    1    8 |  0.9     1.92     1.66 |   8.2    2.29     1.32 |   30.7    1.79     2.60
    28x28    8    8 |  2.4     0.87     7.16 |  21.7    1.32    14.92 |  102.3    1.78        -
    28x28   32   32 | 22.3     0.94     2.62 | 191.6    1.34        - |  899.8    1.74        -
    32x32    3   32 |  4.0     0.77     1.12 |  56.2    3.64     1.32 |  267.7    2.93        -
    32x32    8    8 |  3.2     0.92     8.34 |  26.1    1.21    13.39 |  168.7    2.99        -
    40x1     1   16 |  1.1     0.65     0.24 |   5.6    0.49     0.13 |   27.0    0.33     0.11
    40x1    16   16 |  1.1     0.89     0.38 |   8.0    0.74     0.36 |   46.6    0.78     0.29
    10x1    16   16 |  0.8     1.03     0.47 |   5.9    0.43     0.11 |   16.6    0.38     0.18

So sequences are unfolded, small images grouped, and all others looped over.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainers.networks.linear import affine
from trainers.tensors.layout import ALIGNMENT

GROUPED_PLACES, GROUPED_NUMBERS = 64, 1024
"""Up to so many places (rows times columns), and numbers at them (times channels), of an item a stack of
images is convolved in groups. A rule of shapes alone, not of the clock: runs can be repeated to the bit."""
UNFOLDED_TAPS = 3
"""Up to so many places of a kernel windows are copied: sequences."""


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
    if math.prod(kernel) <= UNFOLDED_TAPS:
        return convolve_unfolded(x, weight, bias, kernel)
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


def convolve_unfolded(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: tuple[int, int]) -> Tensor:
    """As `convolve`, by windows [K, B * P, T * C] and a batched matrix product.

    Windows are filled up with zeros to multiples of 16 numbers, so that every member's matrices start at 64
    bytes: a matrix product may depend on that in its last bit, and no member may depend on its place.
    """
    rows, columns = kernel
    height, width = x.shape[2:4]
    around = functional.pad(x, (0, 0, columns // 2, columns // 2, rows // 2, rows // 2))
    places = itertools.product(range(rows), range(columns))
    windows = [around[:, :, i : i + height, j : j + width] for i, j in places]
    missing = -weight.shape[1] % ALIGNMENT
    if missing:
        windows.append(x.new_zeros(()).expand(*x.shape[:-1], missing))
        weight = functional.pad(weight, (0, 0, 0, missing))
    sums = affine(torch.cat(windows, -1).flatten(1, 3), weight, bias)
    return torch.unflatten(sums, 1, x.shape[1:4])


def pooled(x: Tensor) -> Tensor:
    """The largest of each 2 x 2 places (of 2 along a single row or column), the odd one at the end left out.

    x [K, B, H, W, C] -> [K, B, H // 2, W // 2, C]; as torch.nn.MaxPool2d(2). An axis of one place keeps it.
    """
    window = [2 if side > 1 else 1 for side in x.shape[2:4]]
    y_NCHW = functional.max_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), window)
    return torch.unflatten(y_NCHW.permute(0, 2, 3, 1), 0, x.shape[:2])
