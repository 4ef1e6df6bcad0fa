"""The nonlinear function between two linear maps, elementwise, for one member or a stack.

Shape letters: B items, F features; "..." is the members of a stack or nothing. Numbers are floats
or tensors [..., 1, 1] that broadcast against x [..., B, F].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from search_spaces.factor import Factor, Level, Range, Source

Activation = Callable[..., Tensor]
"""f(x [..., B, F], **own numbers) -> [..., B, F]."""


WHOLE = 64
"""Elements that fill torch's widest unrolled loop on a CPU (two registers of 16 in float32), twice."""


def steady(f: Callable[[Tensor], Tensor]) -> Activation:
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


def leaky_relu(x: Tensor, *, negative_slope: Tensor | float) -> Tensor:
    """x where x > 0, else negative_slope * x, for slopes in [0, 1].

    The slope may differ per member, which torch's own function does not allow. The derivative at 0
    is `negative_slope`, as in torch.
    """
    # max(sign(x), slope) is the derivative: exact, and less than a third of the time of torch.where.
    return x * x.detach().sign().clamp_min_(negative_slope)


NEGATIVE_SLOPE = Range(
    name="negative_slope",
    low=1e-3,
    high=0.5,
    default=0.01,
    log=True,
    meaning="slope of leaky ReLU below zero",
)


def _level(
    name: str,
    build: Activation,
    rank: int,
    document: str,
    claim: str,
    note: str = "",
    ranges: tuple[Range, ...] = (),
) -> Level[Activation]:
    source = Source(document=document, claim=claim)
    return Level(
        name=name, build=build, enters="structure", source=source, cost_rank=rank, ranges=ranges, note=note
    )


# Cost ranks follow the time forward and backward at [64, 32, 32] float32 on one thread of an EPYC core
# (torch 2.14.1, best of 300, microseconds): relu 90, logistic 145, silu 200, gelu 275, tanh, selu and elu
# 290. Leaky ReLU takes 120 and comes last, because it has a number to tune.
ACTIVATION: Factor[Activation] = Factor(
    name="activation",
    meaning="the elementwise function after each hidden layer",
    levels=(
        _level(
            "logistic",
            steady(torch.sigmoid),
            1,
            "000 001 004",
            "saturates on both sides, so lower layers learn little",
        ),
        _level(
            "tanh",
            steady(torch.tanh),
            4,
            "001 003 004",
            "saturates too, but is centred on zero and near-linear there",
        ),
        _level(
            "relu",
            functional.relu,
            0,
            "001 004; Glorot et al. 2011 (PMLR 15)",
            "does not saturate above zero and is very fast; good for most tasks",
        ),
        _level(
            "leaky_relu",
            leaky_relu,
            7,
            "001 004; Xu et al. 2015, arXiv:1505.00853",
            "leaky variants always beat ReLU, because no unit dies",
            "The default slope is torch's 0.01; 001 and 004 use 0.2. The paper claims less than 'always'.",
            (NEGATIVE_SLOPE,),
        ),
        _level(
            "elu",
            steady(functional.elu),
            5,
            "001 004; Clevert et al. 2016, arXiv:1511.07289",
            "negative outputs ease vanishing gradients; a bit slower than ReLU",
            "alpha is fixed at 1, where the function is smooth.",
        ),
        _level(
            "selu",
            steady(functional.selu),
            6,
            "001 004; Klambauer et al. 2017, arXiv:1706.02515",
            "a plain dense stack of SELU self-normalizes if it starts as LeCun normal",
        ),
        _level(
            "gelu",
            steady(functional.gelu),
            3,
            "001; Hendrycks and Gimpel 2016, arXiv:1606.08415",
            "smooth, tends to beat earlier activations, but is slower",
            "The exact form x * Phi(x).",
        ),
        _level(
            "silu",
            steady(functional.silu),
            2,
            "001; Ramachandran et al. 2017, arXiv:1710.05941",
            "Swish is better for deep networks and complex tasks",
            "Swish with beta fixed at 1, torch's SiLU.",
        ),
    ),
    framework_default="relu",
    textbook_shallow=("relu",),
    textbook_deep=("silu",),
)
