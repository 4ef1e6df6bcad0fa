"""The nonlinear function between two linear maps, elementwise, for one member or a stack.

Shape letters: B items, F features; "..." is the members of a stack or nothing. Numbers are floats
or tensors [..., 1, 1] that broadcast against x [..., B, F].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as functional
from torch import Tensor

from search_spaces.elementwise import WITH_DERIVATIVE, WithDerivative, steady, tanh_into, with_quicker
from search_spaces.factor import Factor, Level, Range, Source


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A hidden layer's function, and what it needs from the trainer.

    Examples:
        >>> silu = ACTIVATION.level("silu").build
        >>> silu.apply(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.2689,  0.0000,  0.7311])
        >>> ACTIVATION.level("prelu").build.learned
        {'slope': 0.25}
    """

    apply: Callable[..., Tensor]
    """f(x [..., B, F], **numbers, **learned) -> [..., B, F], or [..., B, F / 2] where gated. Where noisy,
    it is also given noise=[..., B, F], uniform in [0, 1), in training and noise=None otherwise."""
    learned: Mapping[str, float] = field(default_factory=dict)
    """Scalars trained with the weights, name -> start; one of each for every layer, [..., 1, 1]."""
    noisy: bool = False
    """Draws a number for every element in training."""
    gated: bool = False
    """Takes two sums for each unit: x is the first half of the features times what the second lets pass."""
    with_derivative: WithDerivative | None = None
    """The same with its derivative; None: left to autograd."""

    @property
    def shares(self) -> bool:
        """Whether members with it may stand in one stack beside members with other such functions.

        They take one sum to one output, and have nothing of their own to learn or to draw.
        """
        return not (self.learned or self.noisy or self.gated)


def leaky_relu(x: Tensor, *, negative_slope: Tensor | float) -> Tensor:
    """x where x > 0, else negative_slope * x, for slopes in [0, 1].

    The slope may differ per member, which torch's own function does not allow. The derivative at 0
    is `negative_slope`, as in torch.
    """
    # max(sign(x), slope) is the derivative: exact, and less than a third of the time of torch.where.
    return x * x.detach().sign().clamp_min_(negative_slope)


RRELU_LOW, RRELU_HIGH = 1 / 8, 1 / 3
"""Limits of the randomized slope, torch's and the paper's."""


def rrelu(x: Tensor, *, noise: Tensor | None) -> Tensor:
    """Leaky ReLU whose slope is drawn for every element: low + (high - low) * noise.

    With noise=None, which is evaluation, the slope is the mean of both limits, as torch.nn.RReLU has it.
    """
    if noise is None:
        return functional.leaky_relu(x, (RRELU_LOW + RRELU_HIGH) / 2)
    return x * torch.maximum(x.detach().sign(), RRELU_LOW + (RRELU_HIGH - RRELU_LOW) * noise)


def prelu(x: Tensor, *, slope: Tensor | float) -> Tensor:
    """x where x > 0, else slope * x; the slope is trained and may be any number.

    As torch.nn.PReLU(num_parameters=1): one slope for the layer. The derivative at 0 is `slope`.
    """
    positive = functional.relu(x)
    return positive + slope * (x - positive)


_elu = steady(functional.elu)


def elu(x: Tensor, *, elu_alpha: Tensor | float) -> Tensor:
    """x where x > 0, else elu_alpha * (exp(x) - 1); the derivative at 0 is `elu_alpha`, as in torch."""
    alpha = torch.as_tensor(elu_alpha, dtype=x.dtype, device=x.device)
    positive = x.detach().sign().clamp_min_(0)
    # The factor is alpha or 1 to the bit; torch.where takes half as long again.
    return _elu(x) * torch.lerp(alpha, torch.ones_like(alpha), positive)


_logistic = steady(torch.sigmoid)


def swish(x: Tensor, *, beta: Tensor | float) -> Tensor:
    """x * sigmoid(beta * x)."""
    return x * _logistic(beta * x)


_silu = steady(functional.silu)


def swiglu(x: Tensor) -> Tensor:
    """SiLU of the first half of the features times the second: x [..., B, 2 F] -> [..., B, F]."""
    first, second = x.chunk(2, dim=-1)
    return _silu(first) * second


def identity(x: Tensor) -> Tensor:
    """x: a stack of linear maps is one linear map, however deep."""
    return x


GELU_BETA = 1.702
"""Slope at which x * sigmoid(slope * x) is nearest to x * Phi(x) (Hendrycks and Gimpel 2016)."""


def gelu_sigmoid(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x): GELU's fast approximation, which is Swish with beta = 1.702."""
    return x * torch.sigmoid(GELU_BETA * x)


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)^2."""
    return functional.relu(x).square()


PENALTY = 0.25
"""What penalized tanh multiplies its negative half by."""


def penalized_tanh(x: Tensor) -> Tensor:
    """tanh(x) where x > 0, else 0.25 * tanh(x)."""
    return functional.leaky_relu(torch.tanh(x), PENALTY)


NEGATIVE_SLOPE = Range(
    name="negative_slope",
    low=1e-3,
    high=0.5,
    default=0.01,
    log=True,
    meaning="slope of leaky ReLU below zero",
)
ELU_ALPHA = Range(
    name="elu_alpha",
    low=0.1,
    high=3.0,
    default=1.0,
    log=True,
    meaning="minus the value that ELU tends to far below zero",
)


def _level(
    name: str,
    build: Callable[..., Tensor] | Activation,
    rank: int,
    document: str,
    claim: str,
    note: str = "",
    ranges: tuple[Range, ...] = (),
    formula: str = "",
) -> Level[Activation]:
    return Level(
        name=name,
        build=build
        if isinstance(build, Activation)
        else Activation(apply=build, with_derivative=WITH_DERIVATIVE.get(name)),
        enters="structure",
        source=Source(document=document, claim=claim),
        cost_rank=rank,
        ranges=ranges,
        note=note,
        formula=formula,
    )


# Cost ranks: the framework's own, then numbers to tune, then the time forward and backward at
# [64, 32, 32] float32 on one thread of an EPYC core (torch 2.14.1, best of 150, microseconds): relu 85,
# hard_sigmoid 90, hard_swish 93, hard_tanh 103, logistic 133, relu_squared 182, silu 197, gelu_sigmoid 290,
# tanh 291, selu 296, gelu 297, penalized_tanh 345, softplus 350, gelu_tanh 521, mish 1079. Identity takes
# none. Beside them on a busier machine (best of 60, relu 108, gelu 385, mish 1109): prelu 356, swish_learned
# 393, swiglu 439, and rrelu 227 before its noise is drawn. Leaky ReLU (172 there) and ELU (463) come last,
# because they have a number to tune.
ACTIVATION: Factor[Activation] = Factor(
    name="activation",
    meaning="the elementwise function after each hidden layer",
    levels=(
        _level(
            "logistic",
            steady(torch.sigmoid),
            5,
            "000 001 004",
            "saturates on both sides, so lower layers learn little",
            formula="1 / (1 + exp(-x))",
        ),
        _level(
            "tanh",
            steady(with_quicker(torch.tanh, tanh_into)),
            9,
            "001 003 004",
            "saturates too, but is centred on zero and near-linear there",
            formula="(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
        ),
        _level(
            "relu",
            functional.relu,
            0,
            "001 004; Glorot et al. 2011 (PMLR 15)",
            "does not saturate above zero and is very fast; good for most tasks",
            formula="max(x, 0)",
        ),
        _level(
            "leaky_relu",
            leaky_relu,
            20,
            "001 004; Xu et al. 2015, arXiv:1505.00853",
            "leaky variants always beat ReLU, because no unit dies",
            "The default slope is torch's 0.01; 001 and 004 use 0.2. The paper claims less than 'always'.",
            (NEGATIVE_SLOPE,),
        ),
        _level(
            "rrelu",
            Activation(apply=rrelu, noisy=True),
            17,
            "001; Xu et al. 2015, arXiv:1505.00853; torch 2.14 RReLU",
            "a slope drawn at random in training is leaky ReLU that also regularizes",
            "Slopes from U(1/8, 1/3) for every element; their mean in evaluation.",
            formula="x where x > 0, else slope * x, slope from U(1/8, 1/3) in training, their mean otherwise",
        ),
        _level(
            "prelu",
            Activation(apply=prelu, learned={"slope": 0.25}),
            12,
            "001; He et al. 2015, arXiv:1502.01852; torch 2.14 PReLU",
            "a learned slope beats ReLU on large data and overfits on small",
            "One slope per layer, starting at 0.25 (torch's num_parameters=1).",
        ),
        _level(
            "elu",
            elu,
            21,
            "001 004; Clevert et al. 2016, arXiv:1511.07289",
            "negative outputs ease vanishing gradients; a bit slower than ReLU",
            "The derivative is continuous only at the default alpha of 1.",
            (ELU_ALPHA,),
        ),
        _level(
            "selu",
            steady(functional.selu),
            10,
            "001 004; Klambauer et al. 2017, arXiv:1706.02515",
            "a plain dense stack of SELU self-normalizes if it starts as LeCun normal",
            formula="1.0507 * (max(x, 0) + 1.6733 * min(exp(x) - 1, 0))",
        ),
        _level(
            "gelu",
            steady(functional.gelu),
            11,
            "001; Hendrycks and Gimpel 2016, arXiv:1606.08415",
            "smooth, tends to beat earlier activations, but is slower",
            "The exact form x * Phi(x).",
            formula="x * Phi(x), Phi being the distribution function of N(0, 1)",
        ),
        _level(
            "silu",
            steady(functional.silu),
            7,
            "001; Ramachandran et al. 2017, arXiv:1710.05941",
            "Swish is better for deep networks and complex tasks",
            "Swish with beta fixed at 1, torch's SiLU.",
            formula="x / (1 + exp(-x))",
        ),
        _level(
            "swish_learned",
            Activation(apply=swish, learned={"beta": 1.0}),
            13,
            "001; Ramachandran et al. 2017, arXiv:1710.05941",
            "Swish whose beta is learned with the weights",
            "One beta per layer, starting at 1; beta = 1 is silu, beta = 1.702 gelu_sigmoid.",
        ),
        _level(
            "swiglu",
            Activation(apply=swiglu, gated=True),
            16,
            "001; Shazeer 2020, arXiv:2002.05202",
            "a gated Swish beats Swish, at more cost",
            "Hidden layers are narrowed until the network has about as many parameters as with any other "
            "activation (the paper's 2/3 of the width; here 0.71 between hidden layers).",
            formula="silu(x1) * x2 for the two halves x1, x2 of a layer's sums, which are twice its outputs",
        ),
        _level(
            "gelu_tanh",
            steady(partial(functional.gelu, approximate="tanh")),
            18,
            "001; Hendrycks and Gimpel 2016, arXiv:1606.08415; torch 2.14 GELU(approximate='tanh')",
            "an approximation of GELU that needs no error function",
            "On this CPU slower than the exact form.",
            formula="x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))",
        ),
        _level(
            "gelu_sigmoid",
            steady(gelu_sigmoid),
            8,
            "001; Hendrycks and Gimpel 2016, arXiv:1606.08415",
            "x * sigmoid(1.702 x) is faster than GELU and as good",
            "Also 001's Swish with beta = 1.702, which is the same function.",
        ),
        _level(
            "mish",
            steady(functional.mish),
            19,
            "001; Misra 2019, arXiv:1908.08681; torch 2.14 Mish",
            "a smooth relative of Swish, x * tanh(softplus(x))",
            formula="x * tanh(log(1 + exp(x)))",
        ),
        _level(
            "relu_squared",
            relu_squared,
            6,
            "001; So et al. 2021, arXiv:2109.08668",
            "often the best of all, but training is less stable",
        ),
        _level(
            "softplus",
            steady(functional.softplus),
            15,
            "001; Dugas et al. 2000; Glorot et al. 2011 (PMLR 15); torch 2.14 Softplus",
            "a smooth ReLU, log(1 + exp(x)), that never is exactly zero",
            "001 has it inside Mish only. Beyond x = 20 it is x, as in torch.",
            formula="log(1 + exp(x))",
        ),
        _level(
            "hard_sigmoid",
            steady(functional.hardsigmoid),
            2,
            "001; Courbariaux et al. 2015, arXiv:1511.00363; torch 2.14 Hardsigmoid",
            "a piecewise linear logistic is faster on small devices",
            "torch's slope of 1/6; Keras had 1/5.",
            formula="min(max(x / 6 + 1 / 2, 0), 1)",
        ),
        _level(
            "hard_tanh",
            functional.hardtanh,
            4,
            "001; Collobert 2004; torch 2.14 Hardtanh",
            "a piecewise linear tanh is cheaper and as good",
            formula="min(max(x, -1), 1)",
        ),
        _level(
            "hard_swish",
            steady(functional.hardswish),
            3,
            "001; Howard et al. 2019, arXiv:1905.02244; torch 2.14 Hardswish",
            "Swish with a hard sigmoid is faster and no worse",
            formula="x * min(max(x / 6 + 1 / 2, 0), 1)",
        ),
        _level(
            "penalized_tanh",
            steady(penalized_tanh),
            14,
            "Xu et al. 2016, arXiv:1602.05980; Eger et al. 2018, arXiv:1901.02671",
            "the most stable of 21 activations over 8 language tasks",
            "Not in the seed documents.",
        ),
        _level(
            "identity",
            identity,
            1,
            "003",
            "a net needs its nonlinear activations to separate complex patterns",
            "A foil: what the nonlinearity is worth.",
        ),
    ),
    framework_default="relu",
    textbook_shallow=("relu",),
    textbook_deep=("silu",),
)
