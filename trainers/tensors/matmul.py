"""Products of stacks of small matrices on a CPU, by the faster of two libraries, without derivatives.

torch's are MKL's, which keeps its best kernels for Intel's processors; numpy's are OpenBLAS's. GFLOP/s of
x W, x^T dy and dy W^T in stacks of 50 (the last of 64), one thread of an AMD EPYC core (Zen 5); torch 2.14.1
with MKL 2024.2, numpy with OpenBLAS 0.3.31, once with the kernels it takes itself (those for AVX-512), once
held to those for AVX2 (OPENBLAS_CORETYPE=Haswell):

    |                | torch      | numpy         | numpy, AVX2 |
    |----------------|------------|---------------|-------------|
    | 64 x 100 x 100 | 84, 84, 83 | 208, 213, 124 | 97, 101, 96 |
    | 64 x 100 x 10  | 20, 18, 70 | 94, 103, 94   | 61, 61, 71  |
    | 32 x 32 x 32   | 79, 78, 77 | 196, 197, 104 | 43, 46, 39  |

Each slice is a product of its own: what it gives does not depend on its neighbours.
Shape letters: S matrices of a stack, M rows, N summed over, P columns.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CPUINFO = Path("/proc/cpuinfo")
KNOWN = (torch.float32, torch.float64)


def by_numpy(x: Tensor) -> bool:
    """Whether `product` leaves such a stack to numpy: on a processor of AMD, as far as the system tells.

    Not under autocast, of which numpy knows nothing.
    """
    return x.device.type == "cpu" and x.dtype in KNOWN and on_amd() and not torch.is_autocast_enabled("cpu")


@cache
def on_amd() -> bool:
    """Whether this is a processor of AMD, as far as the system tells."""
    try:
        return "AuthenticAMD" in CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def product(a_SMN: Tensor, b_SNP: Tensor, out_SMP: Tensor | None = None) -> Tensor:
    """The products of two stacks, in `out_SMP` if given, whose slices may be strided."""
    if not by_numpy(a_SMN):
        products = torch.bmm(a_SMN, b_SNP)
        # A product of torch's straight into strided rows would be computed member by member.
        return products if out_SMP is None else out_SMP.copy_(products)
    if out_SMP is None:
        out_SMP = a_SMN.new_empty(*a_SMN.shape[:2], b_SNP.shape[2])
    with np.errstate(all="ignore"):  # NaN and infinity are what members are judged by; they are no news
        np.matmul(a_SMN.detach().numpy(), b_SNP.detach().numpy(), out=out_SMP.numpy())
    return out_SMP
