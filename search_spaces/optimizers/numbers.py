"""The numbers that optimizers open: shares kept from step to step are drawn by the logarithm of the rest."""

from __future__ import annotations

import dataclasses

from search_spaces.factor import Range


def rate(low: float, high: float, default: float) -> Range:
    """The range of an optimizer's learning rate."""
    return Range(
        name="learning_rate",
        low=low,
        high=high,
        default=default,
        log=True,
        meaning="step size at the schedule's peak",
    )


MOMENTUM = Range(
    name="momentum",
    low=0.0,
    high=0.999,
    default=0.9,
    log_of_complement=True,
    meaning="share of the velocity kept from one step to the next",
)
BETA1 = Range(
    name="beta1",
    low=0.0,
    high=0.999,
    default=0.9,
    log_of_complement=True,
    meaning="share of the mean gradient kept at each step",
)
BETA2 = Range(
    name="beta2",
    low=0.9,
    high=0.9999,
    default=0.999,
    log_of_complement=True,
    meaning="share of the mean squared gradient kept at each step",
)
ALPHA = Range(
    name="alpha",
    low=0.9,
    high=0.999,
    default=0.99,
    log_of_complement=True,
    meaning="share of the mean squared gradient kept at each step",
)
EPS = Range(
    name="eps",
    low=1e-10,
    high=1.0,
    default=1e-8,
    log=True,
    meaning="added to the root of the mean squared gradient",
)
ADAGRAD_EPS = Range(
    name="eps",
    low=1e-10,
    high=1.0,
    default=1e-10,
    log=True,
    meaning="added to the root of the sum of squared gradients",
)
ADAMAX_BETA2 = Range(
    name="beta2",
    low=0.9,
    high=0.9999,
    default=0.999,
    log_of_complement=True,
    meaning="share of the largest absolute gradient kept at each step",
)
ADAMAX_EPS = Range(
    name="eps",
    low=1e-10,
    high=1.0,
    default=1e-8,
    log=True,
    meaning="added to each absolute gradient",
)
MUON_MOMENTUM = dataclasses.replace(MOMENTUM, default=0.95)
BETA2_DECAY = Range(
    name="beta2_decay",
    low=-1.0,
    high=-0.5,
    default=-0.8,
    meaning="power of the step number that is 1 minus the share of the mean square kept",
)
EPS2 = Range(
    name="eps2",
    low=1e-6,
    high=1e-1,
    default=1e-3,
    log=True,
    meaning="size that a tensor's steps are relative to where its own is smaller",
)
UPDATE_LIMIT = Range(
    name="update_limit",
    low=1.0,
    high=10.0,
    default=1.0,
    log=True,
    meaning="root mean square beyond which a tensor's update is scaled down (torch's d)",
)
ADAM_RATE = rate(1e-5, 1e-1, 1e-3)
