"""How the learning rate changes over training: a table over steps, relative to its peak."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.factor import Factor, Level, Range, Source

Table = NDArray[np.float64]
"""[steps], one value for each update."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What a schedule asks of the trainer."""

    multiplier: Table
    """Learning rate of each step divided by the peak learning rate."""
    momentum: Table | None = None
    """The optimizer's momentum number at each step; None: whatever it was set to."""
    patience: float = math.inf
    """Looks at validation without improvement that are tolerated before the rate is cut."""
    factor: float = 1.0
    """What the rate is multiplied by at such a cut."""


def constant(steps: int) -> Schedule:
    """multiplier = 1."""
    return Schedule(multiplier=np.ones(steps))


def exponential(steps: int, *, final_lr_fraction: float) -> Schedule:
    """multiplier[t] = final_lr_fraction ** (t / steps).

    torch's ExponentialLR stepped at every update with gamma = final_lr_fraction ** (1 / steps); stepped
    once an epoch over E epochs it has the same end for gamma = final_lr_fraction ** (1 / E).
    """
    return Schedule(multiplier=final_lr_fraction ** (np.arange(steps) / steps))


def power(steps: int, *, final_lr_fraction: float) -> Schedule:
    """multiplier[t] = 1 / (1 + (1 / final_lr_fraction - 1) * t / steps): falls ever more slowly.

    Keras' SGD(decay=...) with decay = (1 / final_lr_fraction - 1) / steps, the power 1 of 004.
    """
    return Schedule(multiplier=1 / (1 + (1 / final_lr_fraction - 1) * np.arange(steps) / steps))


def linear(steps: int) -> Schedule:
    """multiplier[t] = 1 - t / steps, torch's LinearLR from 1 to 0."""
    return Schedule(multiplier=1 - np.arange(steps) / steps)


PIECES = ((0.2, 1.0), (0.8, 0.5), (1.0, 0.1))
"""Until which share of the steps, and the rate there relative to the peak."""


def piecewise(steps: int) -> Schedule:
    """The peak for the first fifth of the steps, half of it until four fifths, then a tenth.

    The rates of 004 (0.01, 0.005, 0.001), which changes them at epochs 5 and 20: shares of 25 epochs.
    """
    ends = [math.ceil(share * steps) for share, _ in PIECES]
    rates = np.array([rate for _, rate in PIECES])
    return Schedule(multiplier=rates[np.searchsorted(ends, np.arange(steps), side="right")])


STAIRS = 3
"""Parts of equal length between the drops of the step schedule."""


def step(steps: int, *, step_factor: float) -> Schedule:
    """multiplier[t] = step_factor ** (t // ceil(steps / 3)): two sudden drops.

    torch's StepLR with gamma = step_factor and a step_size of a third of the training.
    """
    return Schedule(multiplier=step_factor ** (np.arange(steps) // math.ceil(steps / STAIRS)).astype(float))


def cosine(steps: int) -> Schedule:
    """multiplier[t] = (1 + cos(pi * t / steps)) / 2, torch's CosineAnnealingLR with eta_min = 0."""
    return Schedule(multiplier=(1 + np.cos(np.pi * np.arange(steps) / steps)) / 2)


FIRST_CYCLE = 7
"""The first of the cosine cycles takes a seventh of the steps: with 1 + 2 + 4 sevenths three fill them."""


def cosine_restarts(steps: int) -> Schedule:
    """Three falls of a cosine, each twice as long as the one before, each from the peak.

    torch's CosineAnnealingWarmRestarts with T_mult = 2 (001), eta_min = 0 and a T_0 of a seventh of the
    training, rounded up, so that no fourth cycle begins.
    """
    first, t = math.ceil(steps / FIRST_CYCLE), np.arange(steps)
    cycle = np.floor(np.log2(t // first + 1))
    begin, length = first * (2**cycle - 1), first * 2**cycle
    return Schedule(multiplier=(1 + np.cos(np.pi * (t - begin) / length)) / 2)


RISE_SHARE = 0.3
"""Share of the steps in which a 1cycle's rate rises (pct_start)."""
START_DIVISOR = 25.0
"""A 1cycle starts at peak / 25 (div_factor)."""
END_DIVISOR = 1e4
"""A 1cycle ends at its start / 10000 (final_div_factor)."""
HIGH_MOMENTUM, LOW_MOMENTUM = 0.95, 0.85
"""A 1cycle's momentum at its lowest and its highest rate."""


def one_cycle(steps: int) -> Schedule:
    """Up to the peak and far below the start again, with momentum going the other way.

    torch's OneCycleLR as it comes: two phases with cosine annealing. The notes and the paper describe
    a linear rise and fall with a last drop (three_phase=True, anneal_strategy='linear').
    """
    t = np.arange(steps)
    top, last = RISE_SHARE * steps - 1, steps - 1
    rising = t <= top
    share = np.where(rising, t / top, (t - top) / (last - top))

    def between(start: float, peak: float, end: float) -> Table:
        rise = peak + (start - peak) / 2 * (1 + np.cos(np.pi * share))
        fall = end + (peak - end) / 2 * (1 + np.cos(np.pi * share))
        return np.where(rising, rise, fall)

    start = 1 / START_DIVISOR
    return Schedule(
        multiplier=between(start, 1.0, start / END_DIVISOR),
        momentum=between(HIGH_MOMENTUM, LOW_MOMENTUM, HIGH_MOMENTUM),
    )


LINEAR_RISE_SHARE = 0.45
"""Share of the steps of the linear 1cycle's rise, and of its fall; the last tenth is the drop."""


def one_cycle_linear(steps: int) -> Schedule:
    """Up to the peak and back in straight lines of equal length, then far below the start.

    torch's OneCycleLR(three_phase=True, anneal_strategy='linear', pct_start=0.45), the form that 001, 004
    and the paper describe; momentum goes the other way and stays high in the last phase.
    """
    t = np.arange(steps)
    top, back, last = LINEAR_RISE_SHARE * steps - 1, 2 * LINEAR_RISE_SHARE * steps - 2, steps - 1

    def through(start: float, peak: float, end: float) -> Table:
        rise = start + (peak - start) * t / top
        fall = peak + (start - peak) * (t - top) / (back - top)
        drop = start + (end - start) * (t - back) / (last - back)
        return np.where(t <= top, rise, np.where(t <= back, fall, drop))

    start = 1 / START_DIVISOR
    return Schedule(
        multiplier=through(start, 1.0, start / END_DIVISOR),
        momentum=through(HIGH_MOMENTUM, LOW_MOMENTUM, HIGH_MOMENTUM),
    )


WARMUP_START = 0.1
"""A warm-up starts at a tenth of the peak (001)."""


def warmed_up(warmup: int, after: Table) -> Table:
    """A straight line from a tenth of the peak over `warmup` steps, then `after`."""
    rise = WARMUP_START + (1 - WARMUP_START) * np.arange(warmup) / max(warmup, 1)
    return np.concatenate([rise, after])


def warmup_cosine(steps: int, *, warmup_share: float) -> Schedule:
    """A linear warm-up over round(warmup_share * steps), then a cosine to 0 over the other steps.

    torch's LinearLR(start_factor=0.1) followed by CosineAnnealingLR.
    """
    warmup = round(warmup_share * steps)
    return Schedule(multiplier=warmed_up(warmup, cosine(steps - warmup).multiplier))


def warmup_linear(steps: int, *, warmup_share: float) -> Schedule:
    """A linear warm-up over round(warmup_share * steps), then a straight line to 0.

    torch's LinearLR(start_factor=0.1) followed by LinearLR from 1 to 0.
    """
    warmup = round(warmup_share * steps)
    return Schedule(multiplier=warmed_up(warmup, linear(steps - warmup).multiplier))


def warmup_stable_decay(steps: int, *, warmup_share: float, cooldown_share: float) -> Schedule:
    """A linear warm-up, the peak, and a straight line to 0 over round(cooldown_share * steps)."""
    warmup, cooldown = round(warmup_share * steps), round(cooldown_share * steps)
    stable = np.ones(steps - warmup - cooldown)
    return Schedule(
        multiplier=warmed_up(warmup, np.concatenate([stable, linear(cooldown).multiplier])),
    )


def performance(steps: int, *, plateau_patience: float, plateau_factor: float) -> Schedule:
    """Constant, until validation stops improving: torch's ReduceLROnPlateau (mode 'min', threshold 1e-4).

    The trainer looks at validation a fixed number of times; patience counts those looks, rounded down.
    """
    return Schedule(
        multiplier=np.ones(steps), patience=float(math.floor(plateau_patience)), factor=plateau_factor
    )


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
WARMUP_SHARE = Range(
    name="warmup_share",
    low=0.0,
    high=0.2,
    default=0.1,
    meaning="share of the steps in which the learning rate rises to its peak",
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
            cost_rank=7,
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
            cost_rank=3,
            note="torch's default form (cosine, two phases); 001, 004 and the paper have a linear one. "
            "While it cycles momentum, the optimizer's own momentum number has no effect.",
        ),
        Level(
            name="performance",
            build=performance,
            enters="numbers",
            source=Source(
                document="001 004; torch 2.14 ReduceLROnPlateau",
                claim="cut the rate when validation stops improving; a good default",
            ),
            cost_rank=12,
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
            cost_rank=8,
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
            cost_rank=5,
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
            cost_rank=9,
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
            cost_rank=6,
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
            cost_rank=4,
            note="The form of the sources; their momentum of 0.95 to 0.85 and torch's divisors (25, 10000).",
        ),
        Level(
            name="warmup_cosine",
            build=warmup_cosine,
            enters="numbers",
            source=Source(
                document="001; Goyal et al. 2017, arXiv:1706.02677; torch 2.14 LinearLR, CosineAnnealingLR",
                claim="walk down from the mountain top before rolling",
            ),
            cost_rank=11,
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
            cost_rank=10,
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
            cost_rank=13,
            ranges=(WARMUP_SHARE, COOLDOWN_SHARE),
            note="Not in the seed documents. A fall over 0.2 of the steps is that of Haegele et al.",
        ),
    ),
    framework_default="constant",
    textbook_shallow=("performance", "one_cycle"),
    textbook_deep=("performance", "one_cycle"),
)
