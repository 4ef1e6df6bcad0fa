"""Interactions and crossover depths: planted ones are found, with an interval that says how well."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.evidence.arrays import gather
from reports.verdicts.regime_interaction import contrast, crossover, paired_effects
from tests.reports.planted import noisy_errors, planted_study

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
    assert 2 < found.low < 12 < found.depth < found.high == 30
    mirrored = crossover(-rising(3.0, sd=6.0, families=4), DEPTHS)
    assert mirrored.low == 2 < mirrored.high


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


def test_one_question_at_several_depths_gives_its_crossover() -> None:
    depths = {"two": 2, "eight": 8, "thirty": 30}
    means = {name: (2 * float(np.log2(depth / 6)), 0.0) for name, depth in depths.items()}
    tables = {
        name: noisy_errors(lead, tau=0.1, block_sd=0.3, seed=i)
        for i, (name, lead) in enumerate(means.items())
    }
    rows = gather(planted_study(tables, levels=("he_normal", "glorot_normal")))
    families, effects = paired_effects(rows, "he_normal", "glorot_normal")
    found = crossover(effects, tuple(depths.values()))
    assert 4 < found.low <= 6 <= found.high < 9
    assert effects.shape == (8, 3) and len(families) == 8
    np.testing.assert_allclose(effects.mean(axis=0), [min(lead, 4.0) for lead, _ in means.values()], atol=0.3)
    _, mirrored = paired_effects(rows, "glorot_normal", "he_normal")
    np.testing.assert_allclose(mirrored, -effects)
    with pytest.raises(ValueError, match="unknown level"):
        paired_effects(rows, "he_normal", "orthogonal")


def test_regimes_are_paired_by_the_families_that_both_judged() -> None:
    first, second = gather(
        planted_study({"shallow": noisy_errors((0, 1, 2)), "deep": noisy_errors((0, 1, 2), seed=2)})
    )
    families, effects = paired_effects([first.without(0), second.without(3)], "torch_default", "he_normal")
    assert families == tuple(f"task_{t}" for t in (1, 2, 4, 5, 6, 7))
    assert effects.shape == (6, 2)
    lone = second
    for _ in range(7):
        lone = lone.without(0)
    with pytest.raises(ValueError, match="needs at least two"):
        paired_effects([first, lone], "torch_default", "he_normal")
