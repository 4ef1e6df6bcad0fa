"""P(improve), other estimates of an effect, and what a default costs where it was not chosen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.statistics.bootstrap import improve_interval, improvement, robust, shares
from reports.statistics.regret import family_regrets, left_out, portfolio


def test_p_improve_counts_blocks_within_families_and_ties_by_half() -> None:
    effects = np.array([[1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
    assert shares(effects, np.array([0, 0, 1])).tolist() == [0.5, 1.0]
    found = improvement(shares(effects, np.arange(3)))
    assert found.share == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found.low <= found.share <= found.high


def test_the_interval_of_p_improve_resamples_families_not_blocks() -> None:
    one_sided = np.array([1.0] * 8 + [0.0] * 8)
    low, high = improve_interval(one_sided)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 4, rel=0.1)
    stacked = improve_interval(np.stack([one_sided, 1 - one_sided]))
    assert stacked[0][0] == low
    assert improvement(np.full(12, 1.0)).reliable and not improvement(np.full(12, 0.7)).reliable


def test_other_estimates_of_an_effect_agree_with_scipy() -> None:
    units = np.random.default_rng(4).gamma(2.0, size=16)
    found = robust(units)
    assert found.iqm == pytest.approx(np.sort(units)[4:12].mean())
    assert found.bca[0] < found.mean < found.bca[1]
    exact = stats.permutation_test(
        (units,), np.mean, permutation_type="samples", n_resamples=100_000, alternative="two-sided"
    ).pvalue
    assert found.sign_flip == pytest.approx(exact, rel=1e-6)
    assert robust(np.full(4, 0.5)).bca == (0.5, 0.5)
    with pytest.raises(ValueError, match="at least two"):
        robust(np.array([1.0]))


def test_a_default_is_robust_when_it_holds_on_families_it_was_not_chosen_on() -> None:
    assert left_out(np.zeros(12)).robust
    few = left_out(np.array([0.0, 0.0, 0.0]))
    assert few.share == 1 and not few.robust, "3 of 3 prove too little"
    half = left_out(np.array([0.0, 3.0] * 8))
    assert (half.share, half.robust) == (0.5, False)
    assert half.worst_tenth == 3.0
    low = stats.binomtest(8, 16).proportion_ci(0.90, method="exact").low
    assert half.share_low == pytest.approx(low)
    with pytest.raises(ValueError, match="at least one family"):
        left_out(np.array([]))


def test_two_levels_that_complete_each_other_make_the_best_pair() -> None:
    errors = np.array([[0.0, 4.0, 1.0], [4.0, 0.0, 1.0]] * 4)
    units = errors[:, :, None] - errors[:, None, :]
    assert family_regrets(units)[0].tolist() == [0.0, 4.0, 1.0]
    assert portfolio(units) == ((0, 1), 0.0)
