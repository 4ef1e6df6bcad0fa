"""Schedules against torch.optim.lr_scheduler, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from search_spaces.schedules import SCHEDULE

PEAK = 0.3
FRACTION = 0.02

Twin = Callable[[torch.optim.Optimizer, int], Any]

TWINS: dict[str, tuple[dict[str, float], Twin]] = {
    "constant": ({}, lambda o, n: lr_scheduler.ConstantLR(o, factor=1.0)),
    "exponential": (
        {"final_lr_fraction": FRACTION},
        lambda o, n: lr_scheduler.ExponentialLR(o, gamma=FRACTION ** (1 / n)),
    ),
    "cosine": ({}, lambda o, n: lr_scheduler.CosineAnnealingLR(o, T_max=n)),
    "one_cycle": ({}, lambda o, n: lr_scheduler.OneCycleLR(o, max_lr=PEAK, total_steps=n)),
}


def torch_tables(twin: Twin, steps: int, optimizer: str) -> tuple[list[float], list[float]]:
    """Learning rate and momentum that torch uses at each of `steps` updates."""
    leaf = [torch.zeros(1, requires_grad=True)]
    if optimizer == "sgd":
        inner: torch.optim.Optimizer = torch.optim.SGD(leaf, lr=PEAK, momentum=0.9)
    else:
        inner = torch.optim.Adam(leaf, lr=PEAK)
    scheduler = twin(inner, steps)
    rates, momenta = [], []
    for step in range(steps):
        group = inner.param_groups[0]
        rates.append(float(group["lr"]))
        momenta.append(float(group["momentum"] if optimizer == "sgd" else group["betas"][0]))
        inner.step()
        if step + 1 < steps:
            scheduler.step()
    return rates, momenta


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 10, 100, 301])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", TWINS)
def test_a_schedule_equals_its_torch_namesake_at_every_step(name: str, optimizer: str, steps: int) -> None:
    """To 1e-12 of the peak: torch multiplies its way along exponential and cosine, we use closed forms."""
    numbers, twin = TWINS[name]
    schedule = SCHEDULE.level(name).build(steps, **numbers)
    rates, momenta = torch_tables(twin, steps, optimizer)
    np.testing.assert_allclose(schedule.multiplier * PEAK, rates, rtol=0, atol=1e-12)
    ours = np.full(steps, 0.9) if schedule.momentum is None else schedule.momentum
    np.testing.assert_allclose(ours, momenta, rtol=0, atol=1e-12)


def test_exponential_ends_where_an_epochwise_gamma_would() -> None:
    """0.9 an epoch over 20 epochs of 15 steps is a final fraction of 0.9^20."""
    epochs, per_epoch, gamma = 20, 15, 0.9
    table = (
        SCHEDULE.level("exponential").build(epochs * per_epoch, final_lr_fraction=gamma**epochs).multiplier
    )
    np.testing.assert_allclose(table[::per_epoch], gamma ** np.arange(epochs), rtol=1e-12)


def test_one_cycle_lowers_momentum_while_the_rate_is_high() -> None:
    schedule = SCHEDULE.level("one_cycle").build(200)
    assert schedule.momentum is not None
    assert schedule.multiplier.argmax() == schedule.momentum.argmin() == 59
    assert schedule.momentum.max() == pytest.approx(0.95)
    assert schedule.momentum.min() == pytest.approx(0.85)
    assert schedule.multiplier[-1] == pytest.approx(1 / 25 / 1e4)


def test_performance_leaves_the_rate_to_the_trainer_and_counts_whole_looks() -> None:
    build = SCHEDULE.level("performance").build
    schedule = build(50, plateau_patience=3.9, plateau_factor=0.4)
    assert (schedule.multiplier == 1).all()
    assert (schedule.patience, schedule.factor) == (3.0, 0.4)


def test_performances_defaults_are_torchs() -> None:
    probe = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    theirs = lr_scheduler.ReduceLROnPlateau(probe)
    defaults = {span.name: span.default for span in SCHEDULE.level("performance").ranges}
    assert defaults == {"plateau_patience": theirs.patience, "plateau_factor": theirs.factor}


def test_only_performance_waits_for_validation() -> None:
    for row in SCHEDULE.levels:
        schedule = row.build(9, **{span.name: span.default for span in row.ranges})
        assert (schedule.patience < 9 or schedule.factor < 1) == (row.name == "performance")
