"""The margin rule on planted pilots, and what makes a task unfit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from reports.evidence.budget import Margin
from studies.comparison.pilot import RECIPES, SEEDS, margin, pilot_members
from tests.studies.planted import outcome, stripes, tiny
from trainers.evaluation import Evaluation
from trainers.loop.feed import trivial_error
from trainers.member import Member
from trainers.tasks.task import Task

TASK = stripes("stripes")
LINE = Task.from_arrays(TASK.x, TASK.x[:, 0] * 3 + TASK.x[:, 1], kind="regression", name="stripes", n_test=60)


def members() -> list[Member]:
    return pilot_members("tiny", "stripes", "deep", tiny().settings("deep"), frozenset())


def piloted(errors: Mapping[str, float], task: Task = TASK, diverged: int = 0) -> Margin:
    """The margin where each recipe has this error in every seed, and the best diverges in some."""
    best = min(errors, key=errors.__getitem__)
    made: list[Evaluation] = []
    for m in members():
        bad = m.slot.level == best and m.slot.index < diverged
        made.append(outcome(m, error=errors[m.slot.level], status="diverged" if bad else "finished"))
    return margin(task, "deep", made)


def errors(best: float) -> dict[str, float]:
    return {name: best + 0.05 * i for i, name in enumerate(RECIPES)}


def test_every_recipe_runs_with_every_seed_on_block_0_without_test_data() -> None:
    found = members()
    assert len({m.slot.id for m in found}) == len(RECIPES) * SEEDS
    assert {m.slot.block for m in found} == {0}
    assert not any(m.reads_test for m in found)
    assert {m.config.numbers["learning_rate"] for m in found} == {3e-3, 1e-3, 0.05}


def test_recipes_that_a_users_network_makes_equal_run_once() -> None:
    found = pilot_members(
        "tiny", "stripes", "deep", tiny().settings("deep"), frozenset(("normalization", "activation"))
    )
    assert {m.slot.level for m in found} == {"relu_batch_norm_adamw", "selu_adamw", "relu_nesterov"}
    assert {m.config.levels["normalization"] for m in found} == {"none"}


@pytest.mark.parametrize(
    ("best", "delta", "floor"),
    [
        (0.20, 2 / 60, "resolution"),  # 60 test items: two of them weigh more than 5 % of the error
        (0.24, 2 / 60, "resolution"),
    ],
)
def test_a_small_test_part_sets_the_margin(best: float, delta: float, floor: str) -> None:
    found = piloted(errors(best))
    assert found.floor == floor
    assert found.delta == pytest.approx(delta)
    assert found.best_recipe == next(iter(RECIPES))
    assert found.best_error == pytest.approx(best)


def test_with_many_test_items_the_error_or_half_a_point_sets_it() -> None:
    x = np.random.default_rng(0).standard_normal((4000, 2)).astype(np.float32)
    large = Task.from_arrays(x, x[:, 0] > 0, kind="classification", name="stripes", n_test=2000)
    assert piloted(errors(0.2), large).floor == "relative"
    assert piloted(errors(0.2), large).delta == pytest.approx(0.01)
    assert (piloted(errors(0.02), large).floor, piloted(errors(0.02), large).delta) == ("absolute", 0.005)


def test_regression_has_the_relative_margin_alone() -> None:
    found = piloted(errors(0.01), LINE)
    assert found.floor == "relative"
    assert found.delta == pytest.approx(0.0005)
    assert found.trivial_error == pytest.approx(trivial_error(LINE, "tiny", 0))


@pytest.mark.parametrize(("diverged", "accepted"), [(0, True), (1, True), (2, False)])
def test_the_best_recipe_must_train_in_four_of_five_seeds(diverged: int, accepted: bool) -> None:
    found = piloted({name: 0.01 if i == 0 else 0.24 for i, name in enumerate(RECIPES)}, diverged=diverged)
    assert found.best_recipe == next(iter(RECIPES))
    assert found.accepted is accepted
    assert ("3 of 5 seeds" in found.reason) is not accepted


def test_the_best_recipe_must_halve_the_trivial_error() -> None:
    trivial = trivial_error(TASK, "tiny", 0)
    assert piloted(errors(trivial / 2 - 0.01)).accepted
    refused = piloted(errors(trivial / 2 + 0.01))
    assert not refused.accepted
    assert "trivial" in refused.reason


def test_the_seed_sd_is_that_of_the_best_recipe() -> None:
    made = []
    for m in members():
        best = m.slot.level == "selu_adamw"
        made.append(outcome(m, error=0.1 + 0.01 * m.slot.index if best else 0.2))
    assert margin(TASK, "deep", made).seed_sd == pytest.approx(np.std(np.arange(5) * 0.01, ddof=1))


def test_other_rows_than_the_pilots_own_are_refused() -> None:
    made = [outcome(m) for m in members()]
    with pytest.raises(ValueError, match="its own pilot members"):
        margin(TASK, "shallow", made)
    with pytest.raises(ValueError, match="its own pilot members"):
        margin(TASK, "deep", [])
