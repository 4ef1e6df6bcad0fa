"""Weight decay: what the trainer does to weights against overfitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search_spaces.factor import Factor, Level, Range, Source

DecayKind = Literal["none", "decoupled", "coupled"]


@dataclass(frozen=True, kw_only=True)
class WeightDecay:
    """Which decay the trainer applies to all parameters, biases and norms included, as torch does."""

    kind: Literal["optimizer", "none", "decoupled", "coupled"]
    """`optimizer`: what its torch namesake does by default. `decoupled`: a step first multiplies
    params by 1 - learning_rate * weight_decay. `coupled`: weight_decay * params joins the gradients."""


DECOUPLED_DECAY = Range(
    name="weight_decay",
    low=1e-6,
    high=1.0,
    default=0.01,
    log=True,
    meaning="decoupled: a step multiplies weights by 1 - learning_rate * weight_decay",
)
L2_DECAY = Range(
    name="weight_decay",
    low=1e-7,
    high=1e-2,
    default=1e-4,
    log=True,
    meaning="coupled: weight_decay * weights joins the gradients (an L2 penalty of weight_decay / 2)",
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
        ),
        Level(
            name="none",
            build=WeightDecay(kind="none"),
            enters="numbers",
            source=Source(document="001", claim="early stopping first; weight decay only if needed"),
            cost_rank=1,
            note="AdamW without decay is Adam.",
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
            note="torch's default is 0, which is the level none; 1e-4 is that of 001's parameter groups.",
        ),
    ),
    framework_default="optimizer_default",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
