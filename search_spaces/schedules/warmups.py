"""Warm-ups: the learning rate rises in a straight line before a schedule begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from search_spaces.factor import Factor, Level, Range, Source
from search_spaces.schedules.decays import cosine, linear
from search_spaces.schedules.schedule import Schedule, Table

WARMUP_START = 0.1
"""A warm-up starts at a tenth of the peak (001)."""


def warmed_up(warmup: int, after: Table) -> Table:
    """A straight line over `warmup` steps to where `after` begins, from a tenth of that; then `after`."""
    rise = WARMUP_START + (1 - WARMUP_START) * np.arange(warmup) / max(warmup, 1)
    return np.concatenate([rise * after[:1], after])


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


After = Callable[[int], Schedule]
"""Steps -> the schedule that follows a warm-up."""
Warmup = Callable[..., Schedule]
"""f(steps, after, **own numbers) -> the schedule of all steps."""


def no_warmup(steps: int, after: After) -> Schedule:
    """The schedule as it is."""
    return after(steps)


def linear_warmup(steps: int, after: After, *, warmup_fraction: float) -> Schedule:
    """A straight line over round(warmup_fraction * steps), then the schedule over the other steps.

    torch's LinearLR(start_factor=0.1) followed by the schedule. Momentum, where it is cycled, waits at
    its first value.
    """
    warmup = round(warmup_fraction * steps)
    following = after(steps - warmup)
    momentum = following.momentum
    if momentum is not None:
        momentum = np.concatenate([np.repeat(momentum[:1], warmup), momentum])
    return dataclasses.replace(
        following, multiplier=warmed_up(warmup, following.multiplier), momentum=momentum
    )


WARMUP_SHARE = Range(
    name="warmup_share",
    low=0.0,
    high=0.2,
    default=0.1,
    meaning="share of the steps in which the learning rate rises to its peak",
)
WARMUP_FRACTION = dataclasses.replace(WARMUP_SHARE, name="warmup_fraction")

WARMUP: Factor[Warmup] = Factor(
    name="warmup",
    meaning="whether the learning rate rises before the schedule begins",
    levels=(
        Level(
            name="none",
            build=no_warmup,
            enters="numbers",
            source=Source(document="torch 2.14 torch.optim", claim="no optimizer warms up by itself"),
            cost_rank=0,
        ),
        Level(
            name="linear",
            build=linear_warmup,
            enters="numbers",
            source=Source(
                document="001; Goyal et al. 2017, arXiv:1706.02677; torch 2.14 LinearLR",
                claim="walk down from the mountain top before rolling",
            ),
            cost_rank=1,
            ranges=(WARMUP_FRACTION,),
            note="Before any schedule, and rises to where that begins; not for a schedule with a warm-up of "
            "its own. Starts at a tenth of it, as in 001, whose 3 epochs of 30 are the default.",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
