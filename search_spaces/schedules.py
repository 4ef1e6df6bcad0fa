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


def cosine(steps: int) -> Schedule:
    """multiplier[t] = (1 + cos(pi * t / steps)) / 2, torch's CosineAnnealingLR with eta_min = 0."""
    return Schedule(multiplier=(1 + np.cos(np.pi * np.arange(steps) / steps)) / 2)


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
            cost_rank=3,
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
            cost_rank=1,
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
            cost_rank=2,
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
            cost_rank=4,
            ranges=(PLATEAU_PATIENCE, PLATEAU_FACTOR),
            note="Defaults are torch's (10 looks, 0.1); 001 has patience 2, 004 patience 5, factor 0.5.",
        ),
    ),
    framework_default="constant",
    textbook_shallow=("performance", "one_cycle"),
    textbook_deep=("performance", "one_cycle"),
)
