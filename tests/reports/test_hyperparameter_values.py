"""Numbers to type in: found where a planted surface has its least mean regret, with their costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import qmc

from reports.evidence.arrays import gather
from reports.evidence.study_record import StudyRecord
from reports.statistics.response_surface import Surface, widths_of
from reports.verdicts.hyperparameter_values import TunedNumber, tuned_numbers
from tests.reports.planted import BUDGET, noisy_errors, planted_study

MARGIN = 0.02
Regret = Callable[[int, float, float], float]
"""Family, log10 of the learning rate, log10 of the weight decay -> margins above the least."""


def searched(regret: Regret, *, trials: int = 16, blocks: int = 4, without: int | None = None) -> StudyRecord:
    """A study whose searches saw `regret`; the weight decay is not open on task `without`."""
    budget = replace(BUDGET, trials=trials)
    study = planted_study({"deep": noisy_errors([2, 2, 0], blocks=blocks)}, budget=budget)
    numbers: dict[tuple[str, int, int], tuple[float, float]] = {}
    for t in range(8):
        for block in range(blocks):
            design = qmc.Sobol(2, rng=np.random.default_rng((t, block))).random(trials)
            for index, (a, b) in enumerate(design, start=1):
                numbers[f"task_{t}", block, index] = (-4 + 4 * a, -5 + 4 * b)
            numbers[f"task_{t}", block, 0] = (-3.0, -2.0)  # the library's defaults of AdamW
    rows = []
    for row in study.evaluations:
        s = row.slot
        if s.phase == "retune":
            rate, decay = numbers[s.task, s.block, s.index]
            t = int(s.task.removeprefix("task_"))
            found = {"learning_rate": float(f"{10**rate:.6g}")}
            if t != without:
                found["weight_decay"] = float(f"{10**decay:.6g}")
            row = replace(
                row,
                config=replace(row.config, numbers=found),
                validation_metric=0.2 + MARGIN * regret(t, rate, decay),
                status="finished",
            )
        elif int(s.task.removeprefix("task_")) != without:
            chosen = {**row.config.numbers, "weight_decay": 1e-3}
            row = replace(row, config=replace(row.config, numbers=chosen))
        rows.append(row)
    limits = {"learning_rate": (1e-4, 1.0), "weight_decay": (1e-5, 1e-1)}
    return replace(study, evaluations=tuple(rows), nuisance=limits)


def numbers_of(study: StudyRecord) -> dict[str, TunedNumber]:
    (evidence,) = gather(study)
    return {number.name: number for number in tuned_numbers(study, evidence, "he_normal")}


def test_the_value_lies_where_all_families_lose_least() -> None:
    found = numbers_of(searched(lambda t, rate, decay: 3 * (rate + 2) ** 2 + (decay + 3.5) ** 2))
    assert np.log10(found["learning_rate"].value) == pytest.approx(-2, abs=0.3)
    assert np.log10(found["weight_decay"].value) == pytest.approx(-3.5, abs=0.7)
    # At its default of 0.001, a decade too low, the learning rate costs 3 margins, less what smoothing takes.
    assert 1.5 < found["learning_rate"].loss_if_untuned <= 3.0
    assert found["learning_rate"].left_out == pytest.approx(0, abs=0.3)
    assert found["learning_rate"].families == 8


def test_a_number_that_does_nothing_costs_nothing_to_leave() -> None:
    found = numbers_of(searched(lambda t, rate, decay: 3 * (rate + 2) ** 2))
    assert found["weight_decay"].loss_if_untuned < 0.15
    assert found["learning_rate"].loss_if_untuned > 1.5


def test_families_that_disagree_show_it_where_one_is_left_out() -> None:
    """Half of the families want a rate of 0.1, half one of 0.001: the other four decide for each."""
    found = numbers_of(searched(lambda t, rate, decay: 2 * (rate + (1 if t % 2 else 3)) ** 2))
    rate = found["learning_rate"]
    assert rate.left_out is not None
    assert rate.left_out > 1.0


def test_a_cliff_of_divergence_is_kept_away_from() -> None:
    """Least at 0.1, but from there on up members diverge in every other family."""

    def regret(t: int, rate: float, decay: float) -> float:
        return 30.0 if rate > -1 and t % 2 else 0.5 * (rate + 1) ** 2

    assert numbers_of(searched(regret))["learning_rate"].value < 0.1


def test_a_number_open_on_some_backgrounds_only_is_judged_there() -> None:
    found = numbers_of(searched(lambda t, rate, decay: (rate + 2) ** 2 + (decay + 3.5) ** 2, without=3))
    assert found["learning_rate"].families == 8
    assert found["weight_decay"].families == 7
    assert np.log10(found["weight_decay"].value) == pytest.approx(-3.5, abs=0.7)


def test_one_family_has_a_value_but_nothing_to_leave_out() -> None:
    study = planted_study({"deep": noisy_errors([3, 3, 0], tasks=1)})
    (evidence,) = gather(study)
    (number,) = tuned_numbers(study, evidence, "he_normal")
    assert number.left_out is None


def test_the_range_is_the_middle_half_of_the_values_that_were_chosen_and_the_value() -> None:
    """Of 32 chosen rates, a power of ten each, the quartiles are computed here and not read off the code."""
    study = searched(lambda t, rate, decay: 3 * (rate + 2) ** 2)
    exponents = {}
    rows = []
    for row in study.evaluations:
        if row.slot.phase == "confirm" and row.arm == "tuned" and row.slot.level == "he_normal":
            t, block = int(row.slot.task.removeprefix("task_")), row.slot.block
            exponents[t, block] = -3.5 + 0.1 * (4 * t + block)  # -3.5 to -0.4, evenly
            chosen = {**row.config.numbers, "learning_rate": float(f"{10 ** exponents[t, block]:.6g}")}
            row = replace(row, config=replace(row.config, numbers=chosen))
        rows.append(row)
    found = numbers_of(replace(study, evaluations=tuple(rows)))["learning_rate"]
    ordered = sorted(exponents.values())
    assert found.cells == len(ordered) == 32
    # Linear interpolation between the 8th and 9th, and the 24th and 25th of 32 (places 7.75 and 23.25).
    low, high = ordered[7] + 0.75 * 0.1, ordered[23] + 0.25 * 0.1
    assert np.log10(found.low) == pytest.approx(min(low, np.log10(found.value)), abs=1e-4)
    assert np.log10(found.high) == pytest.approx(max(high, np.log10(found.value)), abs=1e-4)
    assert low < np.log10(found.value) < high, "the value must lie inside, or it hides the quartiles"


def test_a_value_outside_of_the_middle_half_widens_the_range_to_itself() -> None:
    study = searched(lambda t, rate, decay: 3 * (rate + 0.5) ** 2)
    rows = [
        replace(row, config=replace(row.config, numbers={**row.config.numbers, "learning_rate": 1e-3}))
        if row.slot.phase == "confirm"
        else row
        for row in study.evaluations
    ]
    found = numbers_of(replace(study, evaluations=tuple(rows)))["learning_rate"]
    assert found.low == pytest.approx(1e-3)
    assert found.high == found.value > 0.05


def test_smoothing_ignores_a_number_that_foretells_nothing() -> None:
    rng = np.random.default_rng(0)
    tasks = []
    for _ in range(4):
        x, y = rng.random(64), rng.random(64)
        tasks.append(Surface(family="f", points={"rate": x, "idle": y}, regret=4 * (x - 0.3) ** 2))
    widths = widths_of(tasks)
    assert widths["rate"] <= 0.1
    assert widths["idle"] == np.inf
