"""The probes of claims I2 to I10 and A16 come out as the claims' table has them."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.tools.signal_probes import MeasuredClaim, first_lost, probes, propagate


@pytest.fixture(scope="module")
def measured() -> list[MeasuredClaim]:
    torch.set_num_threads(1)
    return list(probes())


def test_every_probe_is_reproduced_within_its_tolerance(measured: list[MeasuredClaim]) -> None:
    assert [p for p in measured if not p.reproduced] == []


def test_every_claim_that_is_a_probe_has_one(measured: list[MeasuredClaim]) -> None:
    assert {p.claim for p in measured} == {"I2", "I3", "I4", "I6", "I8", "I9", "I10", "A16"}


def test_a_number_outside_its_tolerance_is_not_reproduced() -> None:
    probe = MeasuredClaim(claim="I4", what="", claimed="1", measured=3.0, low=0.5, high=2.0)
    assert not probe.reproduced


@pytest.mark.parametrize("width", [16, 64])
def test_a_linear_layer_multiplies_the_second_moment_by_fan_in_times_the_variance(width: int) -> None:
    levels = {"initializer": "constant_variance", "activation": "identity"}
    found = propagate(levels, depth=3, width=width, seeds=200, items=4, numbers={"init_gain": 4.0})
    # Mean over 200 seeds of a product of chi-squares with a relative SD of about sqrt(2 / width) each.
    expected = [(width * 0.2**2) ** layer for layer in (1, 2, 3)]
    assert found.mean(0).tolist() == pytest.approx(expected, rel=0.25)


def test_the_first_lost_layer_is_counted_from_one() -> None:
    moments = torch.tensor([[1.0, math.inf, math.nan], [1.0, 2.0, 3.0]])
    assert first_lost(moments).tolist() == [2.0, math.inf]
