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


def leaky_relu(x: Tensor, *, negative_slope: Tensor | float) -> Tensor:
    """x where x > 0, else negative_slope * x, for slopes in [0, 1].

    The slope may differ per member, which torch's own function does not allow. The derivative at 0
    is `negative_slope`, as in torch.
    """
    # max(sign(x), slope) is the derivative: exact, and a third of the time of torch.where.
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


ACTIVATION: Factor[Activation] = Factor(
    name="activation",
    meaning="the elementwise function after each hidden layer",
    levels=(
        _level(
            "logistic",
            torch.sigmoid,
            1,
            "000 001 004",
            "saturates on both sides, so lower layers learn little",
        ),
        _level(
            "tanh",
            torch.tanh,
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
            functional.elu,
            5,
            "001 004; Clevert et al. 2016, arXiv:1511.07289",
            "negative outputs ease vanishing gradients; a bit slower than ReLU",
            "alpha is fixed at 1, where the function is smooth.",
        ),
        _level(
            "selu",
            functional.selu,
            6,
            "001 004; Klambauer et al. 2017, arXiv:1706.02515",
            "a plain dense stack of SELU self-normalizes if it starts as LeCun normal",
        ),
        _level(
            "gelu",
            functional.gelu,
            3,
            "001; Hendrycks and Gimpel 2016, arXiv:1606.08415",
            "smooth, tends to beat earlier activations, but is slower",
            "The exact form x * Phi(x).",
        ),
        _level(
            "silu",
            functional.silu,
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
