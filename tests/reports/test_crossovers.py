"""From which depth on: said with an interval where it is proved, and not said where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.evidence.arrays import gather
from reports.evidence.study_record import StudyRecord
from reports.pages.study_page import build
from reports.verdicts.crossovers import Crossing, NoCrossover, crossings, effect_maps
from tests.reports.planted import noisy_errors, planted_study

LEVELS = ("relu", "silu")


def over_depth(
    effects: dict[int, float], *, sizes: tuple[int, ...] = (1000,), tau: float = 0.1
) -> StudyRecord:
    """A study in which relu is worse than silu by so many margins at every depth."""
    errors = {
        f"d{depth}n{size}": noisy_errors([effect, 0], tau=tau, block_sd=0.2, seed=depth + size)
        for depth, effect in effects.items()
        for size in sizes
    }
    study = planted_study(errors, levels=LEVELS, factor="activation", textbook={})
    regimes = {
        f"d{depth}n{size}": {**study.regimes[f"d{depth}n{size}"], "depth": depth, "train_size": size}
        for depth in effects
        for size in sizes
    }
    return replace(study, regimes=regimes)


def only(study: StudyRecord) -> Crossing:
    (found,) = crossings(study, gather(study))
    assert isinstance(found, Crossing)
    return found


def test_a_planted_crossover_is_said_with_its_interval() -> None:
    found = only(over_depth({2: -2.0, 4: -1.0, 8: 0.5, 16: 2.5, 30: 3.0}))
    assert (found.level, found.against, found.depths) == ("relu", "silu", (2, 4, 8, 16, 30))
    assert 4 < float(found.crossover.low) < float(found.crossover.depth) < float(found.crossover.high) < 8
    assert found.sentences[0].startswith("From depth ")
    assert "silu has the smaller error; below, relu has" in found.sentences[0]
    assert "worth more than a margin" in found.sentences[0]
    assert found.sentences[1] == (
        "By themselves (95 % each): silu has the smaller error at 8, 16 and 30; "
        "relu has the smaller error at 2 and 4 hidden layers."
    )
    assert "depth matters to this choice" in found.sentences[2]


def test_levels_that_never_differ_have_no_depth() -> None:
    said = only(over_depth({2: 0.0, 8: 0.0, 30: 0.0}, tau=0.5)).sentences
    assert said[0].startswith(
        "From which depth on relu is better cannot be said: the mean changes sign near "
    )
    assert said[0].endswith("but the interval covers all depths measured, 2 to 30.")
    assert "is not proved to matter" in said[1]


def test_a_mean_that_keeps_its_sign_within_the_noise_is_no_proof_of_it() -> None:
    said = only(over_depth({2: 0.3, 8: 0.25, 30: 0.3}, tau=0.4)).sentences[0]
    assert said.startswith("No crossover was seen: silu has the smaller mean error at every measured depth")
    assert "not proved from " in said


def test_one_level_that_is_better_at_every_depth_has_no_crossover() -> None:
    said = only(over_depth({2: 2.0, 8: 2.0, 30: 2.0})).sentences[0]
    assert said.startswith("No crossover: silu has the smaller mean error at every measured depth")


def test_the_change_over_depth_is_bounded_for_all_planned_looks() -> None:
    study = over_depth({2: -0.4, 8: 0.0, 30: 0.4}, tau=0.5)
    study = replace(study, budget=replace(study.budget, looks=(8, 16, 24)))
    found = only(study)
    gaps = found.units[:, -1] - found.units[:, 0]
    half = float(stats.t.isf(0.05 / (2 * 3), len(gaps) - 1)) * float(stats.sem(gaps))
    mean, low, high = (f"{gaps.mean() + end:+.2f}".replace("-", "−") for end in (0, -half, half))
    said = f"the effect changes by {mean} margins (one-sided bounds {low} and {high})"
    assert said in found.sentences[-1]


def test_two_depths_say_that_it_changes_and_not_where() -> None:
    said = only(over_depth({2: -2.0, 30: 2.0})).sentences[0]
    assert said.startswith("Between 2 and 30 hidden layers the better one changes: relu has the smaller")
    assert "cannot be said from two depths" in said


def test_regimes_that_differ_in_size_too_are_compared_size_by_size_and_mapped() -> None:
    study = over_depth({2: -2.0, 30: 2.0}, sizes=(500, 2000))
    found = crossings(study, gather(study))
    assert [one.where for one in found if isinstance(one, Crossing)] == ["train size 500", "train size 2000"]
    (drawn,) = effect_maps(study, gather(study))
    assert (drawn.depths, drawn.sizes) == ((2, 30), (500, 2000))
    assert np.sign(drawn.mean).tolist() == [[-1, -1], [1, 1]]
    names = [picture.name for picture in build(study)[1]]
    assert {"depth-1-activation-silu", "depth-2-activation-silu", "map-1-activation-silu"} <= set(names)


def test_depths_that_bring_another_change_along_say_so() -> None:
    study = over_depth({2: -2.0, 30: 2.0})
    regimes = {
        name: {**words, "steps": 100 * int(str(words["depth"]))} for name, words in study.regimes.items()
    }
    assert (
        only(replace(study, regimes=regimes)).sentences[-1] == "Caveat: these regimes also differ in steps."
    )


def test_too_few_common_families_are_a_reason_and_no_picture() -> None:
    study = planted_study({"shallow": noisy_errors([0, 1], tasks=1), "deep": noisy_errors([0, 1], tasks=1)},
                          levels=("torch_default", "he_normal"), textbook={})  # fmt: skip
    (found,) = crossings(study, gather(study))
    assert isinstance(found, NoCrossover)
    assert "an interval needs at least two" in found.reason
    assert "From which depth on?" in build(study)[0]


def test_regimes_of_one_depth_have_no_such_section() -> None:
    study = planted_study({"deep": noisy_errors([0, 0, 1])})
    assert crossings(study, gather(study)) == ()
    assert "From which depth on?" not in build(study)[0]


@pytest.mark.parametrize("depth", [2, 30])
def test_means_at_measured_depths_are_those_of_the_rows(depth: int) -> None:
    study = over_depth({2: -2.0, 30: 2.0})
    found = only(study)
    row = next(row for row in gather(study) if row.regime == f"d{depth}n1000")
    assert found.mean[found.depths.index(depth)] == pytest.approx(row.compared(looks=1).mean[0, 1], abs=1e-12)
