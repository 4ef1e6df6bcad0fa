"""Elementwise functions made fit for stacks of members, and for training without autograd.

Shape letters: B items, F features; "..." is the members of a stack or nothing. x is [..., B, F].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from search_spaces.torch_kernels import KERNELS, available

Into = Callable[[Tensor, Tensor], Tensor]
"""(x, place) -> y, which is put into `place`."""


@dataclass(frozen=True, kw_only=True)
class WithDerivative:
    """An activation with its derivative, for training without autograd."""

    apply: Into
    """`place` is x itself, or a tensor like it (see `reads_sums`)."""
    pull: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(dL/dy, x, y) -> dL/dx, in the place of dL/dy."""
    reads_sums: bool = False
    """`pull` needs x as it was."""
    kernels: tuple[str, ...] = ()
    """Undocumented kernels of torch that both call."""


WHOLE = 64
"""Elements that fill torch's widest unrolled loop on a CPU (two registers of 16 in float32), twice."""


def steady(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`f`, with results that do not depend on where in the tensor an element lies.

    torch computes the elements at the end that do not fill its vector registers by other instructions,
    which differ in the last bit for functions built on exp: a member would depend on its place in the
    stack. Filling up costs nothing where the number of elements is a multiple of 64 as it is.
    """

    def apply(x: Tensor) -> Tensor:
        missing = -x.numel() % WHOLE
        if not missing:
            return f(x)
        return f(functional.pad(x.reshape(-1), (0, missing)))[: x.numel()].view(x.shape)

    return apply


def tanh_into(x: Tensor, place: Tensor) -> Tensor:
    """tanh(x) in `place`, without a derivative: on a CPU by numpy, whose takes a thirteenth of torch's time.

    (24 us against 315 for 134,400 numbers, numpy 2.4 and torch 2.14.1 with MKL, one thread of an EPYC core;
    both within 6e-8.)
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return torch.tanh(x, out=place)
    np.tanh(x.detach().numpy(), out=place.numpy())
    return place


def with_quicker(f: Callable[[Tensor], Tensor], into: Into) -> Callable[[Tensor], Tensor]:
    """`f`, computed by `into` where gradients are disabled."""

    def apply(x: Tensor) -> Tensor:
        return f(x) if torch.is_grad_enabled() else into(x, torch.empty_like(x))

    return apply


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
"""Those of torch and of Klambauer et al. 2017."""

DERIVATIVES: Mapping[str, WithDerivative] = {
    "relu": WithDerivative(
        apply=lambda x, place: torch.clamp_min(x, 0, out=place),
        pull=lambda dy, _, y: KERNELS["aten.threshold_backward.grad_input"](dy, y, 0, grad_input=dy),
        kernels=("aten.threshold_backward.grad_input",),
    ),
    "logistic": WithDerivative(
        apply=lambda x, place: torch.sigmoid(x, out=place),
        pull=lambda dy, _, y: KERNELS["aten.sigmoid_backward.grad_input"](dy, y, grad_input=dy),
        kernels=("aten.sigmoid_backward.grad_input",),
    ),
    "tanh": WithDerivative(
        apply=tanh_into,
        pull=lambda dy, _, y: KERNELS["aten.tanh_backward.grad_input"](dy, y, grad_input=dy),
        kernels=("aten.tanh_backward.grad_input",),
    ),
    "selu": WithDerivative(
        apply=lambda x, place: KERNELS["aten.elu.out"](x, SELU_ALPHA, SELU_SCALE, 1, out=place),
        pull=lambda dy, _, y: KERNELS["aten.elu_backward.grad_input"](
            dy, SELU_ALPHA, SELU_SCALE, 1, True, y, grad_input=dy
        ),
        kernels=("aten.elu.out", "aten.elu_backward.grad_input"),
    ),
    "silu": WithDerivative(
        apply=lambda x, place: KERNELS["aten.silu.out"](x, out=place),
        pull=lambda dy, x, _: KERNELS["aten.silu_backward.grad_input"](dy, x, grad_input=dy),
        reads_sums=True,
        kernels=("aten.silu.out", "aten.silu_backward.grad_input"),
    ),
    "gelu": WithDerivative(
        apply=lambda x, place: KERNELS["aten.gelu.out"](x, out=place),
        pull=lambda dy, x, _: KERNELS["aten.gelu_backward.grad_input"](dy, x, grad_input=dy),
        reads_sums=True,
        kernels=("aten.gelu.out", "aten.gelu_backward.grad_input"),
    ),
}
"""The activations that our studies train most."""

WITH_DERIVATIVE = {name: row for name, row in DERIVATIVES.items() if available(*row.kernels)}
"""Those whose kernels this torch has."""
