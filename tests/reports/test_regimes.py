"""Interactions and crossover depths: planted ones are found, with an interval that says how well."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.regimes import contrast, crossover

DEPTHS = (2, 4, 8, 16, 30)


def rising(at: float, *, sd: float = 0.5, families: int = 12, seed: int = 1) -> np.ndarray:
    """[F, D] effects that rise by 2 margins per doubling and change their sign at depth `at`."""
    effect = 2 * np.log2(np.asarray(DEPTHS) / at)
    return effect + sd * np.random.default_rng(seed).normal(size=(families, len(DEPTHS)))


def test_a_crossover_is_found_between_the_depths_that_were_measured() -> None:
    found = crossover(rising(12.0), DEPTHS)
    assert found.low < 12 < found.high
    assert found.high / found.low < 2
    assert found.low <= found.depth <= found.high
    assert found.depth < found.matters_from < 30


def test_at_a_measured_depth_the_interval_is_the_plain_t_interval_of_that_depth() -> None:
    effects = rising(12.0)
    column = effects[:, 3]
    interval = stats.t.interval(0.95, len(column) - 1, column.mean(), stats.sem(column))
    shifted = effects.copy()
    shifted[:, 3] -= interval[0] - 1e-6  # the lower end of depth 16 lies just above 0
    assert crossover(shifted, DEPTHS).high < 16
    shifted[:, 3] -= 2e-6
    assert crossover(shifted, DEPTHS).high >= 16


def test_no_change_of_sign_no_crossover() -> None:
    found = crossover(3 + 0.1 * rising(12.0, sd=0.1), DEPTHS)
    assert np.isnan([found.depth, found.low, found.high]).all()
    assert found.matters_from == 2


def test_too_little_evidence_leaves_the_interval_open_at_an_end() -> None:
    found = crossover(rising(12.0, sd=6.0, families=4), DEPTHS)
    assert found.low == 2 or found.high == 30


def test_two_families_without_any_noise_are_certain() -> None:
    effects = np.tile(2 * np.log2(np.asarray(DEPTHS) / 12), (2, 1))
    found = crossover(effects, DEPTHS)
    assert found.low <= 12 <= found.high
    assert found.high / found.low < 1.02


def test_depths_must_increase() -> None:
    for depths in ((2,), (4, 2), (2, 2)):
        with pytest.raises(ValueError, match="increasing depths"):
            crossover(np.zeros((8, len(depths))), depths)


def test_a_contrast_is_the_paired_t_of_the_difference() -> None:
    rng = np.random.default_rng(2)
    here, there = rng.normal(2, 1, 12), rng.normal(-1, 1, 12)
    u = contrast(here, there, alpha=0.05)
    low = stats.ttest_rel(here, there).confidence_interval(0.95).low
    assert (float(u.mean), float(u.lower)) == pytest.approx((float((here - there).mean()), float(low)))
    many = contrast(np.stack([here, there]), np.stack([there, here]), alpha=0.05)
    assert many.lower[0] == pytest.approx(float(u.lower))
    assert many.upper[1] == pytest.approx(-float(u.lower))
