"""Schedules against torch.optim.lr_scheduler, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from search_spaces.schedules import SCHEDULE, WARMUP, Schedule, warms_up

PEAK = 0.3
FRACTION = 0.02

Twin = Callable[[torch.optim.Optimizer, int], Any]


def warmed(optimizer: torch.optim.Optimizer, warmup: int, *then: tuple[int, Any]) -> Any:
    """torch's own chain: a rise from a tenth, then each scheduler for its number of steps."""
    schedulers: list[Any] = [lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=warmup)]
    ends = [warmup]
    for steps, scheduler in then:
        schedulers.append(scheduler)
        ends.append(ends[-1] + steps)
    return lr_scheduler.SequentialLR(optimizer, schedulers, milestones=ends[:-1])


def falling(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)


TWINS: dict[str, tuple[dict[str, float], Twin]] = {
    "constant": ({}, lambda o, n: lr_scheduler.ConstantLR(o, factor=1.0)),
    "exponential": (
        {"final_lr_fraction": FRACTION},
        lambda o, n: lr_scheduler.ExponentialLR(o, gamma=FRACTION ** (1 / n)),
    ),
    "cosine": ({}, lambda o, n: lr_scheduler.CosineAnnealingLR(o, T_max=n)),
    "power": (
        {"final_lr_fraction": FRACTION},
        lambda o, n: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + (1 / FRACTION - 1) / n * t)),
    ),
    "linear": ({}, lambda o, n: falling(o, n)),
    "step": ({"step_factor": 0.3}, lambda o, n: lr_scheduler.StepLR(o, math.ceil(n / 3), gamma=0.3)),
    "cosine_restarts": (
        {},
        lambda o, n: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=math.ceil(n / 7), T_mult=2),
    ),
    "one_cycle_linear": (
        {},
        lambda o, n: lr_scheduler.OneCycleLR(
            o, max_lr=PEAK, total_steps=n, three_phase=True, anneal_strategy="linear", pct_start=0.45
        ),
    ),
    "one_cycle": ({}, lambda o, n: lr_scheduler.OneCycleLR(o, max_lr=PEAK, total_steps=n)),
    "one_cycle_fixed_momentum": (
        {},
        lambda o, n: lr_scheduler.OneCycleLR(o, max_lr=PEAK, total_steps=n, cycle_momentum=False),
    ),
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


WARMED: dict[str, tuple[dict[str, float], Twin]] = {
    "warmup_cosine": (
        {"warmup_share": 0.1},
        lambda o, n: warmed(
            o, round(n / 10), (n - round(n / 10), lr_scheduler.CosineAnnealingLR(o, n - round(n / 10)))
        ),
    ),
    "warmup_linear": (
        {"warmup_share": 0.1},
        lambda o, n: warmed(o, round(n / 10), (n - round(n / 10), falling(o, n - round(n / 10)))),
    ),
    "warmup_stable_decay": (
        {"warmup_share": 0.1, "cooldown_share": 0.2},
        lambda o, n: warmed(
            o,
            round(n / 10),
            (n - round(n / 10) - round(n / 5), lr_scheduler.ConstantLR(o, factor=1.0)),
            (round(n / 5), falling(o, round(n / 5))),
        ),
    ),
}
"""Level -> the same chained from torch's schedulers."""


@pytest.mark.parametrize("steps", [10, 20, 37, 100, 301])
@pytest.mark.parametrize("name", WARMED)
def test_a_warmed_up_schedule_equals_torchs_chain_at_every_step(name: str, steps: int) -> None:
    numbers, twin = WARMED[name]
    schedule = SCHEDULE.level(name).build(steps, **numbers)
    rates, _ = torch_tables(twin, steps, "sgd")
    np.testing.assert_allclose(schedule.multiplier * PEAK, rates, rtol=0, atol=1e-12)
    assert schedule.momentum is None


PLAIN = [name for name in SCHEDULE.names if not warms_up(name)]


def before(name: str, steps: int, fraction: float) -> Schedule:
    """A schedule with its default numbers after a linear warm-up."""
    row = SCHEDULE.level(name)
    after = partial(row.build, **{span.name: span.default for span in row.ranges})
    return WARMUP.level("linear").build(steps, after, warmup_fraction=fraction)


@pytest.mark.parametrize("steps", [10, 37, 301])
@pytest.mark.parametrize("name", PLAIN)
def test_a_warm_up_comes_before_any_schedule_and_rises_to_where_it_begins(name: str, steps: int) -> None:
    schedule, warmup = before(name, steps, 0.2), round(0.2 * steps)
    alone = before(name, steps - warmup, 0.0)
    assert np.array_equal(schedule.multiplier[warmup:], alone.multiplier)
    probe = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=float(alone.multiplier[0]))
    rises = lr_scheduler.LinearLR(probe, start_factor=0.1, total_iters=warmup)
    for step in range(warmup):
        assert schedule.multiplier[step] == pytest.approx(probe.param_groups[0]["lr"], rel=1e-12)
        probe.step()
        rises.step()
    assert (schedule.patience, schedule.factor) == (alone.patience, alone.factor)
    if alone.momentum is None:
        assert schedule.momentum is None
    else:
        assert schedule.momentum is not None
        assert np.array_equal(schedule.momentum[warmup:], alone.momentum)
        assert (schedule.momentum[:warmup] == alone.momentum[0]).all()


def test_a_warmed_up_level_is_the_warm_up_before_its_schedule() -> None:
    for name in ("cosine", "linear"):
        own = SCHEDULE.level(f"warmup_{name}").build(50, warmup_share=0.1)
        assert np.array_equal(before(name, 50, 0.1).multiplier, own.multiplier)


@pytest.mark.parametrize("steps", range(1, 30))
def test_warm_ups_fit_into_trainings_of_any_length(steps: int) -> None:
    for name in WARMED:
        row = SCHEDULE.level(name)
        for end in ("low", "high"):
            table = row.build(steps, **{span.name: getattr(span, end) for span in row.ranges}).multiplier
            assert table.shape == (steps,)
            assert ((table > 0) & (table <= 1)).all()


def test_without_warm_up_only_the_fall_is_left() -> None:
    for name in ("cosine", "linear"):
        plain = SCHEDULE.level(name).build(50).multiplier
        assert np.array_equal(SCHEDULE.level(f"warmup_{name}").build(50, warmup_share=0.0).multiplier, plain)


def test_piecewise_takes_the_rates_and_epochs_of_its_source() -> None:
    """004's function over 25 epochs of 4 steps; peak 0.01."""

    def piecewise_fn(epoch: int) -> float:
        if epoch < 5:
            return 0.01
        return 0.005 if epoch < 20 else 0.001

    table = SCHEDULE.level("piecewise").build(100).multiplier
    np.testing.assert_allclose(table * 0.01, [piecewise_fn(t // 4) for t in range(100)], rtol=1e-12)


def test_every_schedule_that_torch_has_is_compared_with_it() -> None:
    """Performance scheduling is compared with torch's where it trains, in the tests of the trainer."""
    compared = TWINS.keys() | WARMED.keys() | {"piecewise", "performance"}
    torchs = {name.lower().removesuffix("lr") for name in dir(lr_scheduler)}
    assert compared <= set(SCHEDULE.names)
    assert not [name for name in set(SCHEDULE.names) - compared if name.replace("_", "") in torchs]


def test_the_linear_cycle_rises_and_falls_alike_and_drops_at_the_end() -> None:
    schedule = SCHEDULE.level("one_cycle_linear").build(200)
    assert schedule.momentum is not None
    assert schedule.multiplier.argmax() == schedule.momentum.argmin() == 89
    assert schedule.multiplier[178] == pytest.approx(1 / 25)
    assert schedule.multiplier[-1] == pytest.approx(1 / 25 / 1e4)
    np.testing.assert_allclose(schedule.momentum[178:], 0.95)


def test_restarts_return_to_the_peak_after_one_and_after_three_sevenths() -> None:
    table = SCHEDULE.level("cosine_restarts").build(70).multiplier
    assert np.flatnonzero(table == 1).tolist() == [0, 10, 30]


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
