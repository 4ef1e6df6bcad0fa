"""Weight decay: what pulls parameters toward zero, and which of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from search_spaces.factor import Factor, Level, Range, Source

DecayKind = Literal["none", "decoupled", "coupled", "l1"]


@dataclass(frozen=True, kw_only=True)
class WeightDecay:
    """Which decay the trainer applies to the parameters that decay_scope names."""

    kind: Literal["optimizer", "none", "decoupled", "coupled", "l1"]
    """`optimizer`: what its torch namesake does by default. `decoupled`: a step first multiplies
    params by 1 - learning_rate * weight_decay. `coupled`: weight_decay * params joins the gradients after
    clipping, as in torch.optim. `l1`: l1_strength * sign(params) joins them before, as a term of the loss."""


@dataclass(frozen=True, kw_only=True)
class DecayScope:
    """Which parameters decay."""

    weights_only: bool
    """Biases and the parameters of norms and activations are spared."""


DECOUPLED_DECAY = Range(
    name="weight_decay",
    low=1e-6,
    high=1.0,
    default=0.01,
    log=True,
    meaning="decoupled: a step multiplies weights by 1 - learning_rate * weight_decay",
)
MUON_DECAY = dataclasses.replace(DECOUPLED_DECAY, default=0.1)
L2_DECAY = Range(
    name="weight_decay",
    low=1e-7,
    high=1e-2,
    default=1e-4,
    log=True,
    meaning="coupled: weight_decay * weights joins the gradients (an L2 penalty of weight_decay / 2)",
)
L1_STRENGTH = Range(
    name="l1_strength",
    low=1e-7,
    high=1e-2,
    default=1e-4,
    log=True,
    meaning="l1_strength * sign(weights) joins the gradients (a penalty of l1_strength * |weights|)",
)

WEIGHT_DECAY: Factor[WeightDecay] = Factor(
    name="weight_decay",
    meaning="what pulls parameters toward zero",
    levels=(
        Level(
            name="optimizer_default",
            build=WeightDecay(kind="optimizer"),
            enters="numbers",
            source=Source(
                document="001; torch 2.14 torch.optim",
                claim="AdamW decays weights by default (0.01); no other optimizer here does",
            ),
            cost_rank=0,
            note="The optimizer opens the number, if any. Adam's decay (000) is coupled, and 0 by default.",
            formula="what the optimizer brings: AdamW and Muon decoupled decay, the others nothing",
        ),
        Level(
            name="none",
            build=WeightDecay(kind="none"),
            enters="numbers",
            source=Source(document="001", claim="early stopping first; weight decay only if needed"),
            cost_rank=1,
            note="AdamW without decay is Adam.",
            formula="nothing decays",
        ),
        Level(
            name="decoupled",
            build=WeightDecay(kind="decoupled"),
            enters="numbers",
            source=Source(
                document="001; Loshchilov and Hutter 2019, arXiv:1711.05101",
                claim="shrinking weights by a factor is not an L2 penalty for adaptive optimizers",
            ),
            cost_rank=2,
            ranges=(DECOUPLED_DECAY,),
            formula="w -= learning_rate * weight_decay * w, before the step",
        ),
        Level(
            name="l2",
            build=WeightDecay(kind="coupled"),
            enters="numbers",
            source=Source(
                document="000 001 003 004; torch 2.14 weight_decay of SGD and Adam",
                claim="an L2 penalty constrains weights; with SGD it is weight decay",
            ),
            cost_rank=3,
            ranges=(L2_DECAY,),
            note="torch's default is 0, which is the level none; 1e-4 is that of 001's parameter groups. "
            "With an adaptive optimizer not the same as decoupled decay, though 003 calls both weight decay.",
            formula="grads += weight_decay * w",
        ),
        Level(
            name="l1",
            build=WeightDecay(kind="l1"),
            enters="numbers",
            source=Source(
                document="000 001 003; Tibshirani 1996",
                claim="an L1 penalty drives unimportant weights to zero: a sparse network",
            ),
            cost_rank=4,
            ranges=(L1_STRENGTH,),
            note="1e-4 is 001's and what 000's code has (10e-5; its text says 1e-5). A subgradient step "
            "never lands on zero exactly. Takes the place of the optimizer's own decay.",
            formula="grads += l1_strength * sign(w)",
        ),
    ),
    framework_default="optimizer_default",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)

DECAY_SCOPE: Factor[DecayScope] = Factor(
    name="decay_scope",
    meaning="which parameters the weight decay or penalty pulls toward zero",
    levels=(
        Level(
            name="everything",
            build=DecayScope(weights_only=False),
            enters="numbers",
            source=Source(document="torch 2.14 torch.optim", claim="one weight_decay for all parameters"),
            cost_rank=0,
            note="Without a weight decay or penalty both levels are the same.",
            formula="all parameters",
        ),
        Level(
            name="weights",
            build=DecayScope(weights_only=True),
            enters="numbers",
            source=Source(
                document="001; He et al. 2019, arXiv:1812.01187",
                claim="decaying biases and the parameters of norms does not help",
            ),
            cost_rank=1,
            note="001 does it with two parameter groups. Of a user's own network, tensors of two dimensions "
            "and more are weights.",
            formula="weights of maps and kernels, but no biases, norms' gains and shifts, or learned slopes",
        ),
    ),
    framework_default="everything",
    textbook_shallow=("weights",),
    textbook_deep=("weights",),
)
