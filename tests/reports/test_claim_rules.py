"""Claims are called what method.md 2.8 and 2.9 call them, computed a second time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from reports.statistics import claim_rules, false_discovery, reversals
from reports.statistics.bootstrap import improvement, shares
from reports.statistics.claim_rules import EffectBounds
from reports.statistics.compare import compare
from tests.reports import reference


def pair(mean: float, error: float, quantile: float = 2.0) -> EffectBounds:
    """A pair whose bounds lie `quantile` standard errors from its mean."""
    half = quantile * error
    return EffectBounds(
        mean=np.array(mean), error=np.array(error), lower=np.array(mean - half), upper=np.array(mean + half)
    )


BETTER, WORSE, TIED, OPEN = pair(2, 0.1), pair(-2, 0.1), pair(0.2, 0.1), pair(0.5, 1)


def random_pairs(seed: int) -> NDArray[np.float64]:
    """[T, R, 2] errors in margins."""
    rng = np.random.default_rng(seed)
    tasks = int(rng.integers(8, 25))
    lead = rng.choice([0.0, 0.4, 1.0, 2.0, -1.5])
    errors = rng.choice([0.3, 1.0]) * rng.standard_t(4, size=(tasks, 4, 2))
    errors[..., 1] += lead + rng.choice([0.1, 0.8]) * rng.normal(size=(tasks, 1))
    return np.asarray(errors)


def test_claims_and_their_p_values_agree_with_a_second_computation_on_500_pairs() -> None:
    seen: Counter[str] = Counter()
    for seed in range(500):
        errors = random_pairs(seed)
        tasks = len(errors)
        found = compare(errors, np.ones(tasks), np.arange(tasks), alpha=0.05)
        u = claim_rules.between(found, 0, 1)
        effects = np.clip(errors[..., 1] - errors[..., 0], -4, 4)
        improve = improvement(shares(effects, np.arange(tasks)))
        values = reference.family_means(errors, [1.0] * tasks, list(range(tasks)), 1, 0)
        low, high = reference.bounds(values, 0.05 / 2)
        state = reference.state(low, high)
        assert claim_rules.states(u) == state
        assert claim_rules.better_claim(u) == reference.claim("better", low, high)
        assert claim_rules.equal_claim(u) == reference.claim("equal", low, high)
        usually = claim_rules.usually_claim(u, np.array(improve.low))
        assert usually == reference.claim("usually", low, high, improve.low)
        p = reference.state_p(state, values)
        assert false_discovery.state_p(u, claim_rules.states(u), tasks - 1.0) == pytest.approx(p, rel=1e-9)
        seen[state] += 1
    assert min(seen[state] for state in ("better", "worse", "tied", "unresolved")) >= 20


def test_a_claim_read_backwards_has_the_opposite_answer() -> None:
    assert [str(claim_rules.states(u.mirrored())) for u in (BETTER, WORSE, TIED, OPEN)] == [
        "worse", "better", "tied", "unresolved",
    ]  # fmt: skip


def test_a_difference_that_is_real_but_negligible_is_a_tie() -> None:
    assert claim_rules.states(pair(0.4, 0.05)) == "tied"


@pytest.mark.parametrize(
    ("u", "low", "reversed_tasks", "expected"),
    [
        (BETTER, -0.5, 0, "confirmed"),
        (BETTER, -1.5, 0, "insufficient"),
        (BETTER, -0.5, -1, "insufficient"),
        (BETTER, -0.5, 1, "contradicted"),
        (WORSE, -0.5, 0, "contradicted"),
        (TIED, -0.5, 0, "tied"),
        (OPEN, -0.5, 0, "insufficient"),
    ],
)
def test_always_needs_the_challenge_and_a_new_task_within_a_margin(
    u: EffectBounds, low: float, reversed_tasks: int, expected: str
) -> None:
    assert claim_rules.always_claim(u, np.array(low), np.array(reversed_tasks)) == expected


def test_usually_needs_more_than_half_of_the_blocks() -> None:
    assert claim_rules.usually_claim(BETTER, np.array(0.6)) == "confirmed"
    assert claim_rules.usually_claim(BETTER, np.array(0.4)) == "insufficient"


def ordered(means: list[float], tasks: int = 12, sd: float = 0.3) -> NDArray[np.float64]:
    return np.asarray(means) + sd * np.random.default_rng(8).normal(size=(tasks, 4, len(means)))


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([0, 2, 4], "confirmed"),
        ([0, 2, 2], "confirmed"),
        ([0, 0, 0], "tied"),
        ([2, 0, 4], "contradicted"),
        ([0, 0.3, 2.6, 2.9], "insufficient"),
    ],
)
def test_an_ordering_stands_or_falls_with_its_adjacent_pairs(means: list[float], expected: str) -> None:
    errors = ordered(means)
    found = compare(errors, np.ones(12), np.arange(12), alpha=0.05)
    order = tuple(range(len(means)))
    p = claim_rules.trend_p(errors.mean(axis=1), order)
    assert claim_rules.ordering_claim(found, order, np.array(p), alpha=0.05) == expected


def test_of_an_ordering_what_is_proved_survives() -> None:
    errors = ordered([0, 0, 3])
    found = compare(errors, np.ones(12), np.arange(12), alpha=0.05)
    assert claim_rules.partial_order(found) == ((0, 2), (1, 2))


@pytest.mark.parametrize(
    ("difference", "here", "there", "expected"),
    [
        (pair(3, 0.2), BETTER, WORSE, "confirmed"),
        (pair(3, 0.2), BETTER, BETTER, "contradicted"),
        (pair(0.1, 0.1), TIED, TIED, "tied"),
        (pair(1, 1), BETTER, TIED, "insufficient"),
        (pair(2, 0.2), WORSE, WORSE, "contradicted"),
    ],
)
def test_a_claim_about_regimes_needs_the_interaction_and_both_signs(
    difference: EffectBounds, here: EffectBounds, there: EffectBounds, expected: str
) -> None:
    assert claim_rules.regime_claim(difference, here, there) == expected


def test_a_dose_must_rise_and_may_not_fall_on_the_way() -> None:
    flat, falls = np.array(False), np.array(True)
    assert claim_rules.dose_claim(BETTER, flat, np.array(0.001), alpha=0.05) == "confirmed"
    assert claim_rules.dose_claim(BETTER, falls, np.array(0.001), alpha=0.05) == "contradicted"
    assert claim_rules.dose_claim(BETTER, flat, np.array(0.2), alpha=0.05) == "insufficient"
    assert claim_rules.dose_claim(TIED, flat, np.array(0.2), alpha=0.05) == "tied"


def test_success_rates_are_compared_by_newcombes_interval() -> None:
    # Newcombe (1998), his example 56/70 against 48/80: 0.0524 to 0.3339.
    assert claim_rules.newcombe((56, 70), (48, 80), alpha=0.025) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert claim_rules.success_claim((99, 100), (40, 100)) == "confirmed"
    assert claim_rules.success_claim((40, 100), (99, 100)) == "contradicted"
    assert claim_rules.success_claim((990, 1000), (985, 1000)) == "tied"
    assert claim_rules.success_claim((5, 6), (4, 6)) == "insufficient"


def test_an_exact_statement_holds_in_nearly_every_seed() -> None:
    values = np.array([1.0] * 19 + [1.5])
    assert claim_rules.exact_claim(values, 1.0, 0.01) == "confirmed"
    assert claim_rules.exact_claim(np.append(values, 1.5), 1.0, 0.01) == "contradicted"
    assert claim_rules.exact_claim(np.array([]), 1.0, 0.01) == "insufficient"


def test_the_challenge_is_holm_over_the_worst_tasks_on_fresh_blocks_alone() -> None:
    seen: Counter[int] = Counter()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        fresh = rng.choice([0.0, -1.0, -2.0, -3.0], size=(3, 1)) + rng.normal(0, 1.4, size=(3, 16))
        p = [float(stats.ttest_1samp(row, -1.0, alternative="less").pvalue) for row in fresh]
        found = reversals.reversed_tasks(fresh, alpha=0.05)
        assert found.tolist() == reference.holm(p, 0.05)
        seen[int(found.sum())] += 1
    assert set(seen) == {0, 1, 2, 3}
    assert reversals.worst_tasks(np.array([0.5, -2.0, 1.0, -3.0, 0.0])).tolist() == [3, 1, 4]


def test_blocks_that_share_items_count_for_less_in_a_challenge() -> None:
    fresh = np.random.default_rng(2).normal(-2.2, 1.4, size=(3, 16))
    alone = reversals.reversed_tasks(fresh, alpha=0.05)
    shared = reversals.reversed_tasks(fresh, alpha=0.05, overlap=np.full(3, 0.4))
    assert alone.sum() > shared.sum()
    with pytest.raises(ValueError, match="at least 2 fresh blocks"):
        reversals.reversed_tasks(fresh[:, :1], alpha=0.05)


def test_a_ledger_keeps_what_survives_benjamini_and_hochberg() -> None:
    rng = np.random.default_rng(3)
    p = np.concatenate([rng.random(40), rng.random(10) * 1e-3]).tolist()
    found = false_discovery.adjudicate(["confirmed"] * 50, p)
    np.testing.assert_allclose([one.hochberg for one in found], reference.step_up(p), rtol=1e-12)
    harmonic = sum(1 / rank for rank in range(1, 51))  # Benjamini and Yekutieli's price for any dependence
    dearer = [min(1.0, value) for value in reference.step_up([value * harmonic for value in p])]
    np.testing.assert_allclose([one.yekutieli for one in found], dearer, rtol=1e-12)
    stands = [value <= 0.05 for value in reference.step_up(p)]
    assert [one.label == "confirmed" for one in found] == stands
    assert sum(stands) < sum(value <= 0.05 for value in p), "some are significant alone, and withdrawn"
    assert {one.label for one in found} == {"confirmed", "insufficient"}
    assert all(one.withdrawn == (one.label == "insufficient") for one in found)
    assert not false_discovery.adjudicate(["insufficient"], [1.0])[0].withdrawn
    assert false_discovery.adjudicate([], []) == ()
    with pytest.raises(ValueError, match="one of each"):
        false_discovery.adjudicate(["tied"], [])
