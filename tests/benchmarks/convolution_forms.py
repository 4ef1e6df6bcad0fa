"""Which form of a stack's convolution is fastest: the table in trainers/networks/convolution.py.

`python -m tests.benchmarks.convolution_forms` prints, for one thread, the processor time of a forward and
backward pass of 32 items per member with a loop over members, and that of the others as a multiple of it:

grouped: the stack as one convolution in K groups.
unfolded: every item's windows copied side by side, then one batched matrix product.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from trainers.loop.single_thread import single_threaded
from trainers.networks.convolution import convolve_grouped, convolve_looped, convolve_unfolded

Form = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]

MEMBERS = (1, 4, 8, 32)
ITEMS = 32
SHAPES = (
    # rows, columns, channels in, channels out, whether gradients go on to the layer below
    (8, 8, 1, 8, False),
    (8, 8, 8, 8, True),
    (8, 8, 32, 32, True),
    (4, 4, 8, 8, True),
    (4, 4, 32, 32, True),
    (16, 16, 8, 8, True),
    (16, 16, 32, 32, True),
    (28, 28, 1, 8, False),
    (28, 28, 8, 8, True),
    (28, 28, 32, 32, True),
    (32, 32, 3, 32, False),
    (32, 32, 8, 8, True),
    (40, 1, 1, 16, False),
    (40, 1, 16, 16, True),
    (10, 1, 16, 16, True),
)
SECONDS = 0.1
"""Processor time spent on each measurement, of which the fastest pass counts."""
MOST = 100e6
"""Bytes of windows that are still copied."""


def fastest(form: Form, shape: tuple[int, int, int, int, bool], members: int) -> float:
    """Processor seconds of the fastest forward and backward pass of `form`."""
    height, width, channels, outputs, inner = shape
    kernel = (3, 3 if width > 1 else 1)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(members, ITEMS, height, width, channels, generator=draws).requires_grad_(inner)
    weight = torch.randn(members, kernel[0] * kernel[1] * channels, outputs, generator=draws) / 10
    leaves = [weight.requires_grad_(), torch.zeros(members, 1, outputs, requires_grad=True)]
    gradient = torch.randn(members, ITEMS, height, width, outputs, generator=draws)
    best, began, passes = float("inf"), time.thread_time(), 0
    while passes < 3 or time.thread_time() - began < SECONDS:
        start = time.thread_time()
        z = form(x, leaves[0], leaves[1], kernel)
        torch.autograd.grad(z, [*leaves, *([x] if inner else [])], gradient)
        best, passes = min(best, time.thread_time() - start), passes + 1
    return best


def main() -> None:
    """Prints the table."""
    print(f"torch {torch.__version__}, times of the loop in ms, others as multiples of it")
    print("places   in out |" + " |".join(f" K={k:<3} loop grouped unfolded" for k in MEMBERS))
    with single_threaded():
        for shape in SHAPES:
            height, width, channels, outputs, _ = shape
            cells = []
            for members in MEMBERS:
                loop = fastest(convolve_looped, shape, members)
                grouped = fastest(convolve_grouped, shape, members) / loop
                size = 4 * 9 * members * ITEMS * height * width * channels
                windows = (
                    f"{fastest(convolve_unfolded, shape, members) / loop:8.2f}" if size < MOST else "       -"
                )
                cells.append(f" {loop * 1e3:10.2f} {grouped:7.2f} {windows}")
            print(f"{height:2}x{width:<2} {channels:5} {outputs:3} |" + " |".join(cells), flush=True)


if __name__ == "__main__":
    main()
