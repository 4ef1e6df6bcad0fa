"""Bounds and labels equal a second computation, written from the method's text with other functions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from reports.statistics.compare import Comparison, compare, prediction_half_width, sign_flip_p
from reports.statistics.decision import admissible, labels, relation, worse


def bound_by_hand(
    errors: NDArray[np.float64], delta: NDArray[np.float64], family: list[int], a: int, b: int, looks: int
) -> tuple[float, float, float]:
    """(mean, lower, upper) of level a minus level b, one loop per index, t quantiles from scipy.stats."""
    tasks, blocks, levels = errors.shape
    per_task = []
    for t in range(tasks):
        effects = []
        for r in range(blocks):
            effect = (errors[t, r, a] - errors[t, r, b]) / delta[t]
            effects.append(max(-4.0, min(4.0, effect)))
        per_task.append(sum(effects) / blocks)
    per_family = []
    for name in sorted(set(family)):
        of_family = [value for value, own in zip(per_task, family, strict=True) if own == name]
        per_family.append(sum(of_family) / len(of_family))
    count = len(per_family)
    mean = float(np.mean(per_family))
    half = float(stats.t.isf(0.05 / (levels * looks), count - 1)) * stats.sem(per_family)
    return mean, mean - half, mean + half


def label_by_hand(
    bounds: dict[tuple[int, int], tuple[float, float]], levels: int, textbook: set[int]
) -> tuple[list[int], str]:
    """Method 2.7, word by word."""
    good = [
        level
        for level in range(levels)
        if all(bounds[level, rival][1] < 1 for rival in range(levels) if rival != level)
    ]
    if good and all(level in textbook for level in good):
        return good, "confirmed"
    if any(level in textbook for level in good) and any(level not in textbook for level in good):
        return good, "tied"
    for rival in range(levels):
        beats = [
            rival != own and bounds[own, rival][0] > 0 and bounds[own, rival][1] >= 1 for own in textbook
        ]
        if textbook and all(beats):
            return good, "contradicted"
    return good, "insufficient"


def random_table(
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], int, set[int]]:
    rng = np.random.default_rng(seed)
    levels, blocks = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    tasks = int(rng.integers(8, 16))
    family = np.array([min(t, int(rng.integers(t + 1)) + 6) if t > 8 else t for t in range(tasks)])
    family = np.unique(family, return_inverse=True)[1]
    delta = rng.uniform(0.005, 0.04, tasks)
    truth = rng.choice([0.0, 0.0, 0.5, 1.0, 2.5, -1.5], levels)
    spread = rng.choice([0.2, 0.6, 1.5])
    noise = spread * rng.standard_t(4, size=(tasks, blocks, levels))
    noise += np.where(rng.random(noise.shape) < 0.03, 50.0, 0.0)
    errors = 0.2 + delta[:, None, None] * (truth + noise)
    textbook = set(rng.choice(levels, size=int(rng.integers(0, levels + 1)), replace=False).tolist())
    return errors, delta, family, levels, textbook


def test_bounds_and_labels_agree_with_a_second_computation_on_400_random_tables() -> None:
    seen: dict[str, int] = {}
    for seed in range(400):
        errors, delta, family, levels, textbook = random_table(seed)
        looks = 1 + seed % 3
        ours = compare(errors, delta, family, alpha=0.05, looks=looks)
        bounds = {}
        for a, b in itertools.permutations(range(levels), 2):
            mean, low, high = bound_by_hand(errors, delta, family.tolist(), a, b, looks)
            bounds[a, b] = (low, high)
            got = (ours.mean[a, b], ours.lower[a, b], ours.upper[a, b])
            np.testing.assert_allclose(got, (mean, low, high), rtol=1e-9, atol=1e-11)
        good, label = label_by_hand(bounds, levels, textbook)
        named = np.array([level in textbook for level in range(levels)])
        assert np.flatnonzero(admissible(ours.upper)).tolist() == good
        assert labels(ours.lower, ours.upper, named) == label
        seen[label] = seen.get(label, 0) + 1
    assert min(seen[label] for label in ("confirmed", "tied", "contradicted", "insufficient")) >= 10


def test_simulated_studies_in_a_stack_get_the_bounds_they_get_alone() -> None:
    rng = np.random.default_rng(5)
    studies = rng.normal(size=(3, 2, 9, 4, 3))
    delta, family = np.ones(9), np.arange(9)
    stacked = compare(studies, delta, family, alpha=0.05)
    for i, j in itertools.product(range(3), range(2)):
        alone = compare(studies[i, j], delta, family, alpha=0.05)
        np.testing.assert_array_equal(stacked.upper[i, j], alone.upper)
        np.testing.assert_array_equal(stacked.interval_low[i, j], alone.interval_low)


def test_a_difference_read_backwards_has_the_bounds_mirrored() -> None:
    errors = np.random.default_rng(2).normal(size=(10, 4, 4))
    ours = compare(errors, np.full(10, 0.5), np.arange(10), alpha=0.05)
    np.testing.assert_array_equal(ours.mean, -ours.mean.T)
    np.testing.assert_array_equal(ours.lower, -ours.upper.T)


def test_one_diverged_block_weighs_at_most_four_margins() -> None:
    errors = np.zeros((8, 4, 2))
    errors[3, 1, 1] = 1e6
    ours = compare(errors, np.full(8, 0.01), np.arange(8), alpha=0.05)
    assert ours.mean[1, 0] == pytest.approx(4 / 32)


def test_on_few_tasks_the_error_of_one_task_is_nadeau_and_bengios() -> None:
    values = np.array([0.3, 0.9, -0.2, 0.6])
    errors = np.stack([values, np.zeros(4)], axis=-1)[None]
    ours = compare(
        errors, np.ones(1), np.zeros(1, dtype=int), alpha=0.05, over="splits", overlap=np.array([0.4])
    )
    error = np.sqrt((1 / 4 + 0.4) * values.var(ddof=1))
    assert ours.error[0, 1] == pytest.approx(error)
    assert ours.interval_high[0, 1] == pytest.approx(values.mean() + stats.t(3).ppf(0.975) * error)


def test_one_block_of_few_tasks_proves_nothing() -> None:
    ours = compare(
        np.zeros((3, 1, 2)), np.ones(3), np.arange(3), alpha=0.05, over="splits", overlap=np.ones(3)
    )
    assert not admissible(ours.upper).any()


def test_a_row_whose_textbook_levels_were_not_compared_cannot_be_settled() -> None:
    lower, upper = np.array([[0.0, 2.0], [-3.0, 0.0]]), np.array([[0.0, 3.0], [-2.0, 0.0]])
    assert labels(lower, upper, np.array([False, False])) == "insufficient"


def test_a_level_that_may_be_one_whole_margin_worse_is_not_admissible() -> None:
    upper = np.array([[0.0, 1.0], [np.nextafter(1.0, 0.0), 0.0]])
    assert admissible(upper).tolist() == [False, True]
    assert admissible(upper, np.array([True, True])).tolist() == [False, True]
    assert admissible(upper, np.array([True, False])).tolist() == [True, False], "a dropped level is no rival"


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (-0.4, 0.4, "tied"),
        (0.1, 0.9, "tied"),  # detectable but negligible
        (0.1, 1.0, "worse"),
        (1.2, 3.0, "worse"),
        (-3.0, -0.1, "better"),
        (-1.0, 0.5, "unresolved"),
        (-0.5, 1.5, "unresolved"),
    ],
)
def test_a_pair_is_named_by_where_its_bounds_lie(lower: float, upper: float, expected: str) -> None:
    assert relation(lower, upper) == expected
    mirrored = {"worse": "better", "better": "worse"}.get(expected, expected)
    assert relation(-upper, -lower) == mirrored
    one_of_two = worse(np.array([[0.0, lower], [0.0, 0.0]]), np.array([[0.0, upper], [0.0, 0.0]]))
    assert one_of_two[0, 1] == (expected == "worse")


def test_the_sign_flip_test_equals_scipys_exact_permutation_test() -> None:
    effects = np.random.default_rng(8).normal(0.5, 1.0, 9)
    reference = stats.permutation_test(
        [effects], lambda x: float(x.sum()), permutation_type="samples", n_resamples=1000, vectorized=False
    )
    assert len(reference.null_distribution) == 2**9  # exact
    assert sign_flip_p(effects) == pytest.approx(reference.pvalue)


def test_a_new_family_falls_into_the_prediction_interval_as_often_as_promised() -> None:
    rng = np.random.default_rng(11)
    hits = []
    for _ in range(400):
        effect = rng.normal(0.3, 0.8, 13)
        table = rng.normal(0, 0.2, (13, 4, 2))
        table[:, :, 0] += effect[:, None]
        seen, new = table[:12], effect[12]
        result: Comparison = compare(seen, np.ones(12), np.arange(12), alpha=0.05)
        blocks = np.clip(seen[:, :, :, None] - seen[:, :, None, :], -4, 4)
        half = prediction_half_width(blocks, np.arange(12))[0, 1]
        hits.append(abs(new - result.mean[0, 1]) <= half)
    # 400 draws: 95 % plus or minus 4 standard errors.
    assert abs(np.mean(hits) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)
