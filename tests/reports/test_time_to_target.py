"""Steps to a target: the first look that is good enough, and honest where none is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.evidence.study_record import StudyRecord
from reports.statistics.compare import compare
from reports.verdicts.time_to_target import (
    MARGIN,
    Times,
    log_rank_p,
    log_times,
    profile,
    profile_area,
    steps_to,
    targets,
    times_of,
)
from tests.reports.planted import LEVELS, noisy_errors, planted_study
from trainers.evaluation import CurvePoint, Evaluation

LOOKS = (100, 200, 300)


def with_curve(row: Evaluation, errors: tuple[float, ...]) -> Evaluation:
    curve = tuple(
        CurvePoint(step=step, train_loss=1.0, validation_loss=1.0, validation_metric=error, learning_rate=0.1)
        for step, error in zip(LOOKS, errors, strict=True)
    )
    return replace(row, curve=curve)


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    """he_normal reaches 0.2 at step 100, glorot_normal at 200, torch_default never."""
    curves = {
        "he_normal": (0.1, 0.1, 0.1),
        "glorot_normal": (0.4, 0.15, 0.3),
        "torch_default": (0.9, 0.8, 0.7),
    }
    record = planted_study({"deep": noisy_errors((0, 0, 0))})
    rows = tuple(
        with_curve(row, curves[row.slot.level]) if row.slot.phase == "confirm" else row
        for row in record.evaluations
    )
    return replace(record, evaluations=rows)


@pytest.fixture
def times(study: StudyRecord) -> Times:
    return times_of(study, "initializer", "deep", targets(study, "deep"), LEVELS)


def test_a_target_is_what_the_pilot_recipe_reaches_in_the_median(study: StudyRecord) -> None:
    assert set(targets(study, "deep").values()) == {0.2}
    assert targets(study, "shallow") == {}


def test_the_first_look_that_is_good_enough_counts(study: StudyRecord) -> None:
    row = with_curve(next(e for e in study.evaluations if e.slot.phase == "confirm"), (0.3, 0.2, 0.1))
    assert steps_to(row, 0.2) == (200, True)
    assert steps_to(row, 0.05) == (row.config.setting.steps, False)


def test_a_level_that_never_gets_there_is_censored_and_not_dropped(times: Times) -> None:
    assert times.reached.mean(axis=(0, 1, 3)).tolist() == [0.0, 1.0, 1.0]
    assert np.isfinite(times.steps).all()
    budget = times.steps[0, 0, 0, 0]
    assert log_times(times)[0, 0].tolist() == pytest.approx(np.log2([2 * budget, 200, 100]).tolist())


def test_times_are_judged_like_errors_by_a_margin_of_15_percent(times: Times) -> None:
    tasks = len(times.tasks)
    found = compare(log_times(times), np.full(tasks, MARGIN), np.arange(tasks), alpha=0.05)
    assert found.mean[1, 2] == pytest.approx(4.0), "twice the steps are 5 margins, clipped at 4"


def test_the_profile_says_how_often_a_level_is_how_far_behind_the_fastest(times: Times) -> None:
    ratios, shares = profile(times)
    assert shares[2].tolist() == [1.0] * len(ratios)
    assert shares[1, ratios < 1.99].max() == 0 and shares[1, ratios >= 2].min() == 1
    assert shares[0].max() == 0
    assert profile_area(ratios, shares).tolist() == pytest.approx([0, 2 / 3, 1], abs=0.02)


def test_the_log_rank_test_sees_the_difference_and_its_absence(times: Times) -> None:
    assert log_rank_p(times, "he_normal", "torch_default") < 1e-6
    same = replace(times, steps=np.full_like(times.steps, 100.0), reached=np.ones_like(times.reached))
    assert log_rank_p(same, "he_normal", "glorot_normal") == 1
    mixed = replace(times, steps=np.tile([100.0, 200.0], (*times.steps.shape[:3], 1)))
    assert log_rank_p(mixed, "he_normal", "glorot_normal") > 0.9


def test_a_task_without_a_target_is_named(study: StudyRecord) -> None:
    with pytest.raises(ValueError, match="no target for task_0"):
        times_of(study, "initializer", "deep", {}, LEVELS)
