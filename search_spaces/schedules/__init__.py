"""Schedules: how the learning rate changes over training."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.factor import Factor, Level, Range, Source
from search_spaces.schedules.cycles import one_cycle, one_cycle_fixed_momentum, one_cycle_linear
from search_spaces.schedules.decays import (
    constant,
    cosine,
    cosine_restarts,
    exponential,
    linear,
    performance,
    piecewise,
    power,
    step,
)
from search_spaces.schedules.schedule import Schedule
from search_spaces.schedules.warmups import (
    WARMUP,
    WARMUP_SHARE,
    warmup_cosine,
    warmup_linear,
    warmup_stable_decay,
)

__all__ = ["SCHEDULE", "WARMUP", "Schedule", "warms_up"]

FINAL_LR_FRACTION = Range(
    name="final_lr_fraction",
    low=1e-4,
    high=1.0,
    default=0.1,
    log=True,
    meaning="learning rate after the last step, as a share of the peak",
)
PLATEAU_PATIENCE = Range(
    name="plateau_patience",
    low=0.0,
    high=10.0,
    default=10.0,
    meaning="looks at validation without improvement before the rate is cut, rounded down",
)
PLATEAU_FACTOR = Range(
    name="plateau_factor",
    low=0.05,
    high=0.8,
    default=0.1,
    log=True,
    meaning="what the learning rate is multiplied by at a cut",
)

STEP_FACTOR = Range(
    name="step_factor",
    low=0.05,
    high=0.8,
    default=0.1,
    log=True,
    meaning="what the learning rate is multiplied by after each third of the steps",
)
COOLDOWN_SHARE = Range(
    name="cooldown_share",
    low=0.05,
    high=0.5,
    default=0.2,
    meaning="share of the steps in which the learning rate falls to 0 at the end",
)

# Cost ranks: the framework's own, then numbers to tune, then fixed choices inside. No schedule takes time.
SCHEDULE: Factor[Callable[..., Schedule]] = Factor(
    name="schedule",
    meaning="how the learning rate changes over training",
    levels=(
        Level(
            name="constant",
            build=constant,
            enters="numbers",
            source=Source(
                document="001 002; torch 2.14 torch.optim", claim="a constant rate is the simplest choice"
            ),
            cost_rank=0,
        ),
        Level(
            name="exponential",
            build=exponential,
            enters="numbers",
            source=Source(
                document="000 001 004; torch 2.14 ExponentialLR",
                claim="the rate is multiplied by a constant below 1 at every step",
            ),
            cost_rank=8,
            ranges=(FINAL_LR_FRACTION,),
            note="torch has no default gamma; a tenth at the end is 0.9 an epoch (001) over 22 epochs, "
            "or ten times in 20 epochs (004).",
        ),
        Level(
            name="cosine",
            build=cosine,
            enters="numbers",
            source=Source(
                document="001; Loshchilov and Hutter 2017, arXiv:1608.03983; torch 2.14 CosineAnnealingLR",
                claim="falls more slowly than exponential, so more steps have a high rate",
            ),
            cost_rank=2,
            note="One fall to 0 over all steps, without restarts.",
        ),
        Level(
            name="one_cycle",
            build=one_cycle,
            enters="numbers",
            source=Source(
                document="001 004; Smith and Topin 2017, arXiv:1708.07120; torch 2.14 OneCycleLR",
                claim="reaches in a fraction of the epochs what a fixed rate reaches; a good default",
            ),
            cost_rank=4,
            note="torch's default form (cosine, two phases); 001, 004 and the paper have a linear one. "
            "While it cycles momentum, the optimizer's own momentum number has no effect.",
            formula="1/25 to 1 in 30 % of the steps, then to 1/250000, by cosines; momentum 0.95, 0.85, 0.95",
        ),
        Level(
            name="performance",
            build=performance,
            enters="numbers",
            source=Source(
                document="001 004; torch 2.14 ReduceLROnPlateau",
                claim="cut the rate when validation stops improving; a good default",
            ),
            cost_rank=13,
            ranges=(PLATEAU_PATIENCE, PLATEAU_FACTOR),
            note="Defaults are torch's (10 looks, 0.1); 001 has patience 2, 004 patience 5, factor 0.5.",
        ),
        Level(
            name="power",
            build=power,
            enters="numbers",
            source=Source(
                document="004; Keras SGD(decay=...) and InverseTimeDecay",
                claim="drops fast at first, then more and more slowly",
            ),
            cost_rank=9,
            ranges=(FINAL_LR_FRACTION,),
            note="004's decay of 1e-4 a step reaches a tenth after 90000 steps; here the end is tuned.",
        ),
        Level(
            name="piecewise",
            build=piecewise,
            enters="numbers",
            source=Source(
                document="004; Keras PiecewiseConstantDecay",
                claim="a constant rate for some epochs, then a smaller one",
            ),
            cost_rank=6,
            note="Epochs 5 and 20 are read as shares of 25 epochs. torch's MultiStepLR has one factor.",
        ),
        Level(
            name="step",
            build=step,
            enters="numbers",
            source=Source(
                document="He et al. 2016, arXiv:1512.03385; torch 2.14 StepLR",
                claim="the rate is cut by ten whenever a part of the training is over",
            ),
            cost_rank=10,
            ranges=(STEP_FACTOR,),
            note="Not in the seed documents. The default is torch's gamma; its step_size has none.",
        ),
        Level(
            name="linear",
            build=linear,
            enters="numbers",
            source=Source(
                document="Defazio et al. 2023, arXiv:2310.07831; torch 2.14 LinearLR",
                claim="a straight line to 0 matches or beats all other common schedules",
            ),
            cost_rank=1,
            note="Not in the seed documents. torch's own default rises from a third to 1.",
        ),
        Level(
            name="cosine_restarts",
            build=cosine_restarts,
            enters="numbers",
            source=Source(
                document="001; Loshchilov and Hutter 2017, arXiv:1608.03983; torch 2.14 lr_scheduler",
                claim="the rate goes up again and again, which may leave local minima and plateaus",
            ),
            cost_rank=7,
            note="CosineAnnealingWarmRestarts with T_mult 2, as in 001 (torch has 1), and with three "
            "cycles that fill the training.",
        ),
        Level(
            name="one_cycle_linear",
            build=one_cycle_linear,
            enters="numbers",
            source=Source(
                document="001 004; Smith and Topin 2017, arXiv:1708.07120; torch 2.14 OneCycleLR",
                claim="a linear rise and fall, and a last drop by several orders of magnitude",
            ),
            cost_rank=5,
            note="The form of the sources; their momentum of 0.95 to 0.85 and torch's divisors (25, 10000).",
            formula="1/25 to 1 in 45 % of the steps, back, to 1/250000, by lines; momentum 0.95, 0.85, 0.95",
        ),
        Level(
            name="one_cycle_fixed_momentum",
            build=one_cycle_fixed_momentum,
            enters="numbers",
            source=Source(
                document="001; torch 2.14 OneCycleLR(cycle_momentum=False)",
                claim="the rate alone goes up and down; whether momentum should go with it is open",
            ),
            cost_rank=3,
            note="Like torch's default form in all else. The optimizer's momentum number has its effect.",
            formula="the rate of one_cycle; the optimizer's own momentum throughout",
        ),
        Level(
            name="warmup_cosine",
            build=warmup_cosine,
            enters="numbers",
            source=Source(
                document="001; Goyal et al. 2017, arXiv:1706.02677; torch 2.14 LinearLR, CosineAnnealingLR",
                claim="walk down from the mountain top before rolling",
            ),
            cost_rank=12,
            ranges=(WARMUP_SHARE,),
            note="torch has no default warm-up; 001 takes 3 epochs, from a tenth of the peak.",
        ),
        Level(
            name="warmup_linear",
            build=warmup_linear,
            enters="numbers",
            source=Source(
                document="001; Defazio et al. 2023, arXiv:2310.07831; torch 2.14 LinearLR",
                claim="warm-up and a straight line to 0 match or beat all other common schedules",
            ),
            cost_rank=11,
            ranges=(WARMUP_SHARE,),
            note="The warm-up starts from a tenth of the peak, as in 001.",
        ),
        Level(
            name="warmup_stable_decay",
            build=warmup_stable_decay,
            enters="numbers",
            source=Source(
                document="Hu et al. 2024, arXiv:2404.06395; Haegele et al. 2024, arXiv:2405.18392",
                claim="a long constant phase and a short fall to 0 reach what a cosine reaches",
            ),
            cost_rank=14,
            ranges=(WARMUP_SHARE, COOLDOWN_SHARE),
            note="Not in the seed documents. A fall over 0.2 of the steps is that of Haegele et al.",
        ),
    ),
    framework_default="constant",
    textbook_shallow=("performance", "one_cycle"),
    textbook_deep=("performance", "one_cycle"),
)


def warms_up(level: str) -> bool:
    """Whether a level of `schedule` begins with a warm-up of its own."""
    return WARMUP_SHARE in SCHEDULE.level(level).ranges
