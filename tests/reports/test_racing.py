"""Races agree with a second computation, drop only what is proved worse, and stop in time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.evidence.arrays import gather
from reports.evidence.fairness_checks import evidence_status
from reports.evidence.study_record import StudyRecord
from reports.pages.study_page import build
from reports.statistics.compare import compare
from reports.statistics.decision import labels
from reports.statistics.racing import Race, looks_within, race
from reports.verdicts.robustness import robustness
from reports.verdicts.verdict import decide, verdicts
from tests.reports import reference
from tests.reports.planted import BUDGET, noisy_errors, planted_study
from trainers.evaluation import Phase

LOOKS = (8, 12, 16)


def table(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], set[int]]:
    """A random study: 16 families, some of two tasks, heavy tails, runs that diverged."""
    rng = np.random.default_rng(seed)
    levels, blocks = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    family = np.sort(np.concatenate([np.arange(16), rng.choice(16, 3, replace=False)]))
    delta = rng.uniform(0.005, 0.04, len(family))
    truth = rng.choice([0.0, 0.0, 0.0, 0.5, 1.0, 2.5], levels)
    noise = rng.choice([0.3, 0.8, 1.6]) * rng.standard_t(4, size=(len(family), blocks, levels))
    noise += np.where(rng.random(noise.shape) < 0.02, 80.0, 0.0)
    textbook = set(rng.choice(levels, size=int(rng.integers(1, levels)), replace=False).tolist())
    return 0.2 + delta[:, None, None] * (truth + noise), delta, family, textbook


def run(errors: NDArray[np.float64], delta: NDArray[np.float64], family: NDArray[np.int64]) -> Race:
    return race(errors, delta, family, looks=LOOKS, alpha=0.05)


def test_labels_agree_with_a_second_computation_on_500_raced_tables() -> None:
    seen: Counter[str] = Counter()
    stops: Counter[int] = Counter()
    for seed in range(500):
        errors, delta, family, textbook = table(seed)
        levels = errors.shape[-1]
        ours = run(errors, delta, family)
        alive, good, pairs, stop, *_ = reference.race(errors, delta.tolist(), family.tolist(), LOOKS, 0.05)
        assert np.flatnonzero(ours.surviving).tolist() == alive
        assert np.flatnonzero(ours.admissible).tolist() == good
        assert ours.families == stop
        for (a, b), (low, high) in pairs.items():
            got = (ours.comparison.lower[a, b], ours.comparison.upper[a, b])
            np.testing.assert_allclose(got, (low, high), rtol=1e-9, atol=1e-11)
        named = np.array([level in textbook for level in range(levels)])
        bounds = ours.comparison
        label = str(labels(bounds.lower, bounds.upper, named, surviving=ours.surviving))
        assert label == reference.label(good, pairs, levels, textbook)
        seen[label] += 1
        stops[stop] += 1
    assert min(seen[label] for label in ("confirmed", "tied", "contradicted", "insufficient")) >= 20
    assert min(stops[look] for look in LOOKS) >= 20


def test_studies_in_a_stack_race_as_they_race_alone() -> None:
    rng = np.random.default_rng(1)
    errors = np.array([0.0, 0.3, 1.8]) + rng.normal(size=(20, 16, 4, 3))
    delta, family = np.ones(16), np.arange(16)
    together = run(errors, delta, family)
    assert len(set(together.families.tolist())) > 1
    for i, own in enumerate(errors):
        alone = run(own, delta, family)
        np.testing.assert_array_equal(together.surviving[i], alone.surviving)
        np.testing.assert_array_equal(together.admissible[i], alone.admissible)
        np.testing.assert_array_equal(together.comparison.upper[i], alone.comparison.upper)
        assert (together.families[i], together.level_tasks[i]) == (alone.families, alone.level_tasks)


def test_a_dropped_level_needs_no_more_runs_and_changes_nothing_by_their_absence() -> None:
    rng = np.random.default_rng(3)
    errors = np.array([0.9, 0.0, 3.5]) + 0.8 * rng.normal(size=(16, 4, 3))
    delta, family = np.ones(16), np.arange(16)
    whole = run(errors, delta, family)
    assert whole.families > 8
    assert not whole.surviving[2]
    unspent = errors.copy()
    unspent[8:, :, 2] = np.nan
    raced = run(unspent, delta, family)
    np.testing.assert_array_equal(raced.admissible, whole.admissible)
    np.testing.assert_array_equal(raced.comparison.upper, whole.comparison.upper)
    assert raced.level_tasks == 3 * 8 + 2 * (raced.families - 8)


def test_what_is_worse_by_less_than_a_margin_is_never_dropped() -> None:
    errors = np.tile(np.array([0.9, 0.0]), (16, 4, 1)) + 1e-3 * np.random.default_rng(4).normal(
        size=(16, 4, 2)
    )
    raced = run(errors, np.ones(16), np.arange(16))
    assert raced.surviving.all()
    assert raced.comparison.lower[0, 1] > 0.8


def test_one_look_at_everything_is_the_plain_comparison() -> None:
    errors = np.random.default_rng(5).normal(size=(12, 4, 3))
    raced = race(errors, np.ones(12), np.arange(12), looks=(12,), alpha=0.05)
    plain = compare(errors, np.ones(12), np.arange(12), alpha=0.05)
    np.testing.assert_array_equal(raced.comparison.upper, plain.upper)


def test_looks_end_where_the_tasks_do_and_must_increase() -> None:
    assert looks_within((8, 16, 24), 24) == (8, 16, 24)
    assert looks_within((8, 16, 24), 19) == (8, 16, 19)
    assert looks_within((8,), 5) == (5,)
    errors = np.zeros((8, 2, 2))
    for looks in ((8, 4), (), (9,), (4, 4)):
        with pytest.raises(ValueError, match="must increase"):
            race(errors, np.ones(8), np.arange(8), looks=looks, alpha=0.05)


def called_for(record: StudyRecord) -> StudyRecord:
    """The study with what its races call for, and nothing else."""
    rows = tuple(
        row
        for row in record.evaluations
        if not row.slot.factor
        or row.slot.level in record.courses[row.slot.factor, row.slot.regime].called.get(row.slot.task, ())
    )
    ran = Counter(row.slot.phase for row in rows)
    return replace(record, evaluations=rows, planned={p: ran[cast(Phase, p)] for p in record.planned})


def test_a_level_dropped_early_is_judged_on_what_it_was_trained_on() -> None:
    budget = replace(BUDGET, looks=(8, 16))
    errors = noisy_errors((0.0, 0.0, 6.0), tasks=16)
    errors[::2, :, 0] += 0.04  # which of the first two is better hangs on the task
    errors[1::2, :, 0] -= 0.04
    record = called_for(planted_study({"deep": errors}, budget=budget))
    (body,) = gather(record)
    assert body.present.tolist() == [True, True, False]
    (verdict,) = verdicts(record)
    assert verdict.effect("he_normal", "torch_default").tasks == 8
    assert verdict.mean_error["he_normal"] == pytest.approx(errors[:8, :, 2].mean())
    assert verdict.mean_error["torch_default"] == pytest.approx(errors[..., 0].mean())
    points = 100 * (errors[:8, :, 2] - errors[:8, :, 0]).mean()
    assert verdict.effect("he_normal", "torch_default").points == pytest.approx(points)
    checks = robustness(body, verdict, looks=record.budget.looks)
    assert checks.kept_without is not None
    assert checks.pair is not None
    assert set(checks.pair[0]) == {"torch_default", "glorot_normal"}
    assert "he_normal" not in checks.double_margins.admissible
    text, pictures = build(record)
    assert "nan" not in text
    shown = [cell for picture in pictures for row in picture.rows for cell in row if isinstance(cell, float)]
    assert shown and not np.isnan(shown).any()


def test_levels_that_beat_each_other_in_a_circle_all_stay() -> None:
    # Clipped at 4 margins, each is worse than the next by 4, 4 and -8: two thirds of a circle per task.
    turn = np.array([[0.0, 9.0, 18.0], [18.0, 0.0, 9.0], [9.0, 18.0, 0.0]])
    errors = np.tile(turn, (3, 1))[:, None, :] + 1e-3 * np.random.default_rng(6).normal(size=(9, 4, 3))
    raced = race(errors, np.ones(9), np.arange(9), looks=(8, 9), alpha=0.05)
    assert raced.surviving.any()


def test_a_study_with_several_looks_is_raced_and_one_with_one_look_is_not() -> None:
    budget = replace(BUDGET, looks=(8, 12, 16))
    errors = noisy_errors((3.0, 0.0, 3.0), tasks=16, block_sd=0.3)
    whole = planted_study({"deep": errors}, budget=budget)
    assert evidence_status(whole).kind == "refused"  # trained on, although the race had stopped
    record = called_for(whole)
    (body,) = gather(record)
    raced, fixed = decide(body, looks=record.budget.looks), decide(body, looks=3)
    assert len(body.families) == body.raced((8, 12, 16)).families == 8
    assert raced.recommended == fixed.recommended == "glorot_normal"
    assert verdicts(record)[0].admissible == raced.admissible == ("glorot_normal",)
