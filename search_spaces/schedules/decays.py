"""Schedules that start at the peak and stay there or fall, at once or on demand."""

from __future__ import annotations

import math

import numpy as np

from search_spaces.schedules.schedule import Schedule


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


def performance(steps: int, *, plateau_patience: float, plateau_factor: float) -> Schedule:
    """Constant, until validation stops improving: torch's ReduceLROnPlateau (mode 'min', threshold 1e-4).

    The trainer looks at validation a fixed number of times; patience counts those looks, rounded down.
    """
    return Schedule(
        multiplier=np.ones(steps), patience=float(math.floor(plateau_patience)), factor=plateau_factor
    )
