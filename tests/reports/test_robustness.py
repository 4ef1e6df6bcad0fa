"""What another margin, another task or another test would have said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reports.evidence.arrays import gather
from reports.pages.study_page import write_report
from reports.verdicts.robustness import Robustness, robustness
from reports.verdicts.verdict import decide, verdicts
from tests.reports.planted import noisy_errors, planted_study


def checks_of(errors: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Robustness:
    record = planted_study({"deep": errors})
    (evidence,), (verdict,) = gather(record), verdicts(record)
    return robustness(evidence, verdict, looks=1)


def test_a_clear_winner_stays_one_whatever_is_changed() -> None:
    checks = checks_of(noisy_errors([3, 3, 0], tau=0.2))
    assert (checks.half_margins.label, checks.double_margins.label) == ("confirmed", "confirmed")
    assert checks.kept_without == 8
    assert checks.leave_one_task_out == pytest.approx(0, abs=0.05)
    assert checks.sign_flip == pytest.approx(2 / 2**8)
    assert checks.median is not None
    assert checks.prediction is not None
    assert checks.prediction[0] < checks.median < checks.prediction[1]


def test_a_tie_at_this_margin_may_be_open_at_half_of_it() -> None:
    checks = checks_of(noisy_errors([0, 0, 0], tau=0.4, block_sd=0.8, seed=2))
    assert checks.half_margins.label == "insufficient"
    assert checks.double_margins.label == "tied"


def test_a_recommendation_that_hangs_on_one_family_shows_it() -> None:
    errors = noisy_errors([0, 0, 0], tau=0.0, block_sd=0.0, tasks=8)
    errors[0, :, 0] += 0.08  # on one family the cheapest level fails by 4 margins
    checks = checks_of(errors)
    assert checks.kept_without == 7
    assert checks.leave_one_task_out == pytest.approx(4 / 8)


def test_nothing_is_said_about_other_families_where_few_were_judged() -> None:
    checks = checks_of(noisy_errors([3, 3, 0], tasks=3))
    assert checks.kept_without is None
    assert checks.leave_one_task_out is None
    assert checks.prediction is None


def test_measured_data_alone_are_shown_beside_all(tmp_path: Path) -> None:
    record = planted_study({"deep": noisy_errors((0, 1.5, 3))})
    (body,) = gather(record)
    verdict = verdicts(record)[0]
    checks = robustness(body, verdict, looks=(8,))
    head = verdict.headline
    assert head is not None and checks.measured is not None
    assert checks.measured.families == 4, "every other planted task is measured"
    i, j = body.levels.index(head.level), body.levels.index(head.against)
    effects = np.clip((body.tuned[::2, :, i] - body.tuned[::2, :, j]) / 0.02, -4, 4).mean(axis=1)
    low, high = stats.t.interval(0.95, 3, effects.mean(), stats.sem(effects))
    assert checks.measured.margins == pytest.approx(effects.mean())
    assert checks.measured.interval == pytest.approx((low, high))
    assert "measured data alone" in write_report(record, tmp_path).read_text(encoding="utf-8")


def test_at_the_librarys_defaults_the_answer_is_that_of_the_untuned_arm() -> None:
    record = planted_study({"deep": noisy_errors((0, 1.5, 3))})
    (body,) = gather(record)
    checks = robustness(body, verdicts(record)[0], looks=(8,))
    assert checks.untuned.recommended == decide(replace(body, tuned=body.untuned), looks=1).recommended
    assert checks.pair is not None and checks.pair[1] >= 0
    assert checks.regret is not None and checks.regret.mean == checks.leave_one_task_out
