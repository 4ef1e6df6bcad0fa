"""The rule keeps its promises in simulated studies, and says beforehand how likely it is to answer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from reports.statistics.compare import compare
from reports.statistics.decision import admissible
from reports.verdicts.families_needed import settle_probability


def upper_limit(hits: int, of: int) -> float:
    """97.5 % Clopper-Pearson upper bound of a rate."""
    return float(stats.binomtest(hits, of).proportion_ci(0.95, method="exact").high)


def simulated(
    lead: float, levels: int, families: int, *, studies: int, tau: float = 0.5, seed: int = 3
) -> NDArray[np.bool_]:
    """[studies, levels] admissible levels where the last level leads by `lead` margins."""
    rng = np.random.default_rng(seed)
    errors = tau * rng.normal(size=(studies, families, 1, levels)) + rng.normal(
        size=(studies, families, 4, levels)
    )
    errors[..., -1] -= lead
    return admissible(compare(errors, np.ones(families), np.arange(families), alpha=0.05).upper)


@pytest.mark.parametrize("levels", [2, 4, 6])
def test_a_level_exactly_one_margin_worse_is_hardly_ever_recommended(levels: int) -> None:
    proved = simulated(1.0, levels, 12, studies=2000)
    wrong = int(proved[:, :-1].any(axis=-1).sum())
    assert upper_limit(wrong, 2000) < 0.062  # alpha = 0.05 and what 2000 studies leave open
    assert wrong > 0  # the bound is not won by never answering


def test_a_pair_exactly_at_the_margin_is_called_tied_in_at_most_alpha_of_studies() -> None:
    tied = int(simulated(1.0, 2, 16, studies=4000).all(axis=-1).sum())
    assert upper_limit(tied, 4000) <= 0.05


def test_equal_levels_are_tied_as_often_as_the_sizing_table_says() -> None:
    # method.md 2.15: 12 families, 4 blocks and tau = 0.5 prove a pair tied in at least 80 % of studies.
    assert simulated(0.0, 2, 12, studies=2000).all(axis=-1).mean() == pytest.approx(0.8, abs=0.05)


def test_more_families_settle_more_rows() -> None:
    chances = [settle_probability(4, t, 4, tau=0.5, block_sd=1.0)["equal"] for t in (8, 12, 24)]
    assert chances[0] < chances[1] <= chances[2]
    assert chances[2] > 0.95


def test_a_clear_winner_is_found_with_eight_families() -> None:
    chance = settle_probability(3, 8, 4, tau=0.5, block_sd=1.0, looks=(8,))
    assert chance["clear_winner"] > 0.95
    assert chance["wrong"] <= 0.05


def test_more_looks_cost_certainty_at_each_of_them() -> None:
    one = settle_probability(3, 8, 4, tau=0.5, block_sd=1.0, looks=1)
    three = settle_probability(3, 8, 4, tau=0.5, block_sd=1.0, looks=3)
    assert three["equal"] < one["equal"]


def test_the_same_question_gets_the_same_answer() -> None:
    assert settle_probability(3, 8, 4, tau=0.5, block_sd=1.0) == settle_probability(
        3, 8, 4, tau=0.5, block_sd=1.0
    )


def test_a_comparison_needs_two_levels() -> None:
    with pytest.raises(ValueError, match="levels 1"):
        settle_probability(1, 8, 4, tau=0.5, block_sd=1.0)
