"""Which kernels compute here: what, besides versions, can move a result in its last digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_info

from trainers.tensors.matmul import on_amd


def processor(device: torch.device) -> dict[str, str]:
    """Names of the kernels that train here; two machines that agree in all of them give equal results.

    Args:
        device: of the training; a GPU adds its own name.
    """
    kernels = dict(_cpu())
    if device.type == "cuda":
        kernels["gpu"] = torch.cuda.get_device_name(device)
    return kernels


@cache
def _cpu() -> dict[str, str]:
    """Of this process: `ATEN_CPU_CAPABILITY` and `OPENBLAS_CORETYPE` may hold both below the processor."""
    return {
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "blas": _numpy_core(),
        "products": "numpy" if on_amd() else "torch",
    }


def _numpy_core() -> str:
    """The processor for which numpy's OpenBLAS has chosen its kernels; another library's name otherwise."""
    home = str(Path(np.__file__).parents[1])
    libraries = [one for one in threadpool_info() if one["user_api"] == "blas"]
    own = [one for one in libraries if one["filepath"].startswith(f"{home}/numpy")] or libraries
    return str(own[0].get("architecture") or own[0]["internal_api"]) if own else "unknown"
