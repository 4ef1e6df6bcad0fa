"""The same row under other analyses: each says what it would recommend, and none decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from reports.evidence.arrays import Evidence, gather
from reports.evidence.study_record import StudyRecord
from reports.evidence.tuning_curves import REGRET_SHOWN, Trial, best_so_far
from reports.statistics.bayesian import PRIOR, signed_rank
from reports.verdicts.headline import decided, other_orders
from reports.verdicts.model import Verdict
from reports.verdicts.robustness import robustness
from reports.verdicts.sensitivity import SensitivityAnalysis, last_step, sensitivity
from reports.verdicts.speed_profile import pace_of
from reports.verdicts.time_to_target import targets
from reports.verdicts.verdict import judge, verdicts
from tests.reports.planted import LEVELS, noisy_errors, planted_study


def row_of(study: StudyRecord) -> tuple[Evidence, Verdict]:
    (evidence,) = gather(study)
    return evidence, judge(study, evidence)


def lines_of(study: StudyRecord) -> dict[str, SensitivityAnalysis]:
    evidence, verdict = row_of(study)
    checks = robustness(evidence, verdict, looks=study.budget.looks)
    return {line.what: line for line in sensitivity(study, evidence, verdict, checks)}


def with_last(study: StudyRecord, better: str | None) -> StudyRecord:
    """The study with another error after the last step: `better` ends far ahead; None: not recorded."""

    def last(test: Mapping[str, float], level: str) -> dict[str, float]:
        if better is None:
            return {"best_validation": test["best_validation"]}
        return {**test, "last": test["best_validation"] - (0.1 if level == better else 0.0)}

    return replace(
        study,
        evaluations=tuple(
            replace(row, test=last(row.test, row.slot.level)) if row.test else row
            for row in study.evaluations
        ),
    )


LAST = "error after the last step, not at the best validation (no early stopping)"


def test_every_analysis_agrees_on_a_clear_winner() -> None:
    lines = lines_of(planted_study({"deep": noisy_errors([3, 3, 0])}))
    decisions = [line for line in lines.values() if line.recommended]
    assert len(decisions) == 5
    assert all(line.agrees and line.recommended == "he_normal" for line in decisions)
    assert {"median over families", "mean of the middle half of the families"} < set(lines)
    assert lines["Bayesian signed-rank test with one margin as equivalence"].effect.startswith(
        "a margin or more worse 100%"
    )


def test_a_level_that_wins_after_the_last_step_only_is_shown_and_not_recommended() -> None:
    study = with_last(planted_study({"deep": noisy_errors([3, 3, 0])}), "glorot_normal")
    assert row_of(study)[1].recommended == "he_normal"
    line = lines_of(study)[LAST]
    assert (line.recommended, line.agrees) == ("glorot_normal", False)


def test_without_a_last_read_out_the_line_is_left_out() -> None:
    study = with_last(planted_study({"deep": noisy_errors([3, 3, 0])}), None)
    assert last_step(study, row_of(study)[0]) is None
    assert LAST not in lines_of(study)


def test_measured_and_generated_data_stand_beside_each_other() -> None:
    lines = lines_of(planted_study({"deep": noisy_errors([3, 3, 0])}))
    assert {"measured data alone, 4 families", "generated data alone, 4 families"} < set(lines)


def test_the_bayesian_test_agrees_with_a_plain_count_over_the_same_draws() -> None:
    units = np.random.default_rng(3).normal(0.9, 0.8, size=10)
    values = [0.0, *units]
    draws = np.random.default_rng(4).dirichlet([PRIOR, *np.ones(10)], 2000)
    wins = [0, 0, 0]
    for weight in draws:
        mass = [0.0, 0.0, 0.0]
        for i, a in enumerate(values):
            for j, b in enumerate(values):
                middle = (a + b) / 2
                mass[0 if middle < -1 else 2 if middle > 1 else 1] += weight[i] * weight[j]
        wins[int(np.argmax(mass))] += 1
    found = signed_rank(units)
    # 2,000 draws against 20,000: three standard errors of a share are 0.035.
    assert [found.below, found.within, found.above] == pytest.approx([w / 2000 for w in wins], abs=0.035)


def test_the_bayesian_test_turns_around_with_the_effect() -> None:
    units = np.array([1.5, 2.0, 0.7, 3.0, 1.1, 1.9, 0.2, 2.5])
    there, back = signed_rank(units), signed_rank(-units)
    assert (there.above, there.below) == pytest.approx((back.below, back.above))
    assert signed_rank(units / 10).within > 0.99


def test_the_headline_counts_what_decided_and_other_orders_stay_inside_the_proved_set() -> None:
    errors = {"shallow": noisy_errors([0, 0, 0], tau=0.1), "deep": noisy_errors([3, 3, 0])}
    found = verdicts(planted_study(errors))
    assert decided(found).startswith("1 of 2 rows was decided by data, 1 by cost order")
    shallow, deep = other_orders(found)
    assert (shallow.cheapest, shallow.dearest) == (LEVELS[0], LEVELS[-1])
    assert shallow.possible == LEVELS
    assert deep.cheapest == deep.dearest == deep.least_error == "he_normal"


def test_the_pace_of_a_row_says_who_gets_there_and_how_much_later() -> None:
    study = planted_study({"deep": noisy_errors([0, 0, 0], tau=0.1)})
    slow = {"torch_default": (0.5, 0.5, 0.5), "glorot_normal": (0.5, 0.1, 0.1), "he_normal": (0.1, 0.1, 0.1)}
    study = replace(
        study,
        evaluations=tuple(
            replace(
                row,
                curve=tuple(
                    replace(point, validation_metric=value)
                    for point, value in zip(row.curve, slow[row.slot.level], strict=True)
                ),
            )
            if row.slot.phase == "confirm"
            else row
            for row in study.evaluations
        ),
    )
    evidence, _ = row_of(study)
    pace = pace_of(study, evidence, "he_normal", targets(study, "deep"))
    assert pace is not None
    never, later, first = pace.levels
    assert (never.reached, never.median) == (0.0, None)
    assert (later.median, first.median, first.ratio, first.log_rank) == (200, 100, None, None)
    assert later.ratio == pytest.approx((2.0, 2.0, 2.0))
    assert pace_of(study, evidence, "he_normal", {}) is None


def test_a_tuning_band_holds_the_median_as_often_as_it_says() -> None:
    """8 families of one block each: between the least and the largest, 1 - 2 / 2**8."""
    rng = np.random.default_rng(0)
    families = {f"task_{t}": f"task_{t}" for t in range(8)}
    held = []
    for _ in range(400):
        regrets = rng.exponential(size=(8, 3))
        curve = best_so_far(trials(regrets), families)
        assert curve.coverage == pytest.approx(1 - 2 / 256)
        # The best of the first two of independent exponentials has the median ln(2) / 2.
        held.append(curve.low[2] <= np.log(2) / 2 <= curve.high[2])
    # The lower 99.9 % bound of 400 coins of chance 0.992.
    assert np.mean(held) > 0.97


def test_five_families_bound_no_median_and_regret_is_capped() -> None:
    curve = best_so_far(trials(np.full((5, 4), 99.0)), {f"task_{t}": f"task_{t}" for t in range(5)})
    assert curve.coverage == 0
    assert np.isnan(curve.low).all()
    assert curve.median.tolist() == [REGRET_SHOWN] * 4


def trials(regrets: np.ndarray) -> tuple[Trial, ...]:
    """One block of each task; column 0 is the library default."""
    return tuple(
        Trial(task=f"task_{t}", block=0, index=k, learning_rate=0.1, regret=float(value), diverged=False)
        for t, row in enumerate(regrets)
        for k, value in enumerate(row)
    )
