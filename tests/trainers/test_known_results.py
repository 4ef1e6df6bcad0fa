"""Known results of the literature come out of the trainer's own rules and trainings."""

from __future__ import annotations

import dataclasses

import pytest

from tests.replications.nets import nets
from tests.replications.rules import rules
from trainers.tools.signal_probes import MeasuredClaim

KNOWN = {"O1", "O3", "O9", "O13", "O14", "G4", "G6", "R4", "N1", "N7", "N9", "I5", "I8", "I10"}
"""Claims of the table that a known result stands behind."""


@pytest.fixture(scope="module")
def measured() -> list[MeasuredClaim]:
    return [*rules(), *nets()]


def test_every_known_result_comes_out_within_its_tolerance(measured: list[MeasuredClaim]) -> None:
    assert [probe for probe in measured if not probe.reproduced] == []


def test_every_known_result_is_measured(measured: list[MeasuredClaim]) -> None:
    assert {probe.claim for probe in measured} == KNOWN


def test_every_tolerance_can_be_missed(measured: list[MeasuredClaim]) -> None:
    for probe in measured:
        missed = dataclasses.replace(probe, measured=probe.low - 1.0)
        assert not missed.reproduced
