"""Kernels that torch does not document, used only where they were measured to be faster.

They are named in this file alone. Where this torch has none of that name, training goes on without:

| kernels | without them |
|---|---|
| `_fused_sgd_`, `_fused_adam_` | the update rule, in several passes over all members |
| `aten.elu`, `aten.silu`, `aten.gelu`, `aten.*_backward` | autograd of the activation |
| `native_layer_norm`, its backward pass | autograd of the norm |
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch

NAMES = (
    "_fused_sgd_",
    "_fused_adam_",
    "native_layer_norm",
    "ops.aten.native_layer_norm_backward",
    "ops.aten.threshold_backward.grad_input",
    "ops.aten.sigmoid_backward.grad_input",
    "ops.aten.tanh_backward.grad_input",
    "ops.aten.elu.out",
    "ops.aten.elu_backward.grad_input",
    "ops.aten.silu.out",
    "ops.aten.silu_backward.grad_input",
    "ops.aten.gelu.out",
    "ops.aten.gelu_backward.grad_input",
)
"""Below `torch`."""

MISSING: Any = object()


def _lookup(name: str) -> Any:
    return reduce(lambda owner, part: getattr(owner, part, MISSING), name.split("."), torch)


KERNELS: dict[str, Any] = {
    name.removeprefix("ops."): kernel for name in NAMES if (kernel := _lookup(name)) is not MISSING
}
"""Those that this torch has."""


def available(*names: str) -> bool:
    """Whether this torch has all of them."""
    return KERNELS.keys() >= set(names)
