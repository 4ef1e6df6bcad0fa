"""Races spend alpha over the looks that the plan allows, not over those taken or possible so far.

The runner's race (what to train next) and the report's (what is judged) are held against the second
computation on random studies whose effects lie about one margin, where the correction decides.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.evidence.arrays import Evidence
from reports.evidence.budget import Budget, Margin
from reports.evidence.question import Question
from reports.evidence.race_progress import RaceProgress, race_progress_of
from reports.verdicts.verdict import decide
from search_spaces.config import Config
from tests.reports import reference
from trainers.evaluation import Evaluation, Slot

NAMES = ("a", "b", "c", "d")
PLANS = ((8, 12, 16), (8, 16), (8, 10, 12, 16))
CONFIG = Config(levels={}, numbers={})


@dataclass(frozen=True, kw_only=True)
class Study:
    """What would be confirmed if every level were trained on every task."""

    errors: NDArray[np.float64]
    """[T, R, L]"""
    delta: NDArray[np.float64]
    family: NDArray[np.int64]
    looks: tuple[int, ...]
    """As planned; there may be fewer families."""

    @property
    def question(self) -> Question:
        names = NAMES[: self.errors.shape[2]]
        cost = {name: rank for rank, name in enumerate(names)}
        return Question(
            factor="factor", levels=names[::-1], regimes=("deep",), cost=cost, textbook={"deep": names[:1]}
        )

    @property
    def possible(self) -> list[int]:
        count = int(self.family.max()) + 1
        return [*(look for look in self.looks if look < count), count]

    def raced(self, count: int) -> reference.Raced:
        """After so many looks at most."""
        looks = self.possible[:count]
        return reference.race(
            self.errors, self.delta.tolist(), self.family.tolist(), looks, 0.05, planned=len(self.looks)
        )


def study(seed: int) -> Study:
    """Of 8 to 16 families and 2 to 4 levels; effects of 0, or of 0.6 to 1.6 margins."""
    rng = np.random.default_rng(seed)
    families = int(rng.integers(9, 17))
    family = np.sort(np.concatenate([np.arange(families), rng.choice(families, 2)]))
    shape = (len(family), 2, int(rng.integers(2, 5)))
    delta = rng.uniform(0.01, 0.03, shape[0])
    truth = rng.choice([0.0, 0.0, 0.3, 0.6, 1.0, 1.6], shape[2])
    noise = rng.choice([0.2, 0.4, 0.7]) * rng.normal(size=shape)
    looks = PLANS[int(rng.integers(len(PLANS)))]
    errors = 0.2 + delta[:, None, None] * (truth + noise)
    return Study(errors=errors, delta=delta, family=family.astype(np.int64), looks=looks)


def course(given: Study, confirmed: list[Evaluation]) -> RaceProgress:
    tasks = [f"t{t}" for t in range(len(given.family))]
    return race_progress_of(
        given.question,
        tasks=tasks,
        families=[f"f{f}" for f in given.family],
        margins={
            task: Margin(
                task=task, regime="deep", delta=float(delta), floor="", best_error=0.2, best_recipe="",
                trivial_error=0.6, seed_sd=0.0, accepted=True,
            )
            for task, delta in zip(tasks, given.delta, strict=True)
        },
        budget=Budget(
            profile="quick", blocks=2, trials=1, promoted=1, promote_seeds=1, confirm_seeds=1,
            looks=given.looks,
        ),
        confirmed=confirmed,
    )  # fmt: skip


def trained(given: Study, so_far: RaceProgress) -> list[Evaluation]:
    """What a course has called for so far, confirmed in both arms; the untuned one ranks the other way."""
    rows = []
    names = NAMES[: given.errors.shape[2]]
    for task, levels in so_far.called.items():
        for level in levels:
            for block in range(2):
                error = float(given.errors[int(task[1:]), block, names.index(level)])
                for index in range(2):
                    slot = Slot(
                        study="s", factor="factor", task=task, regime="deep", block=block, level=level,
                        phase="confirm", index=index,
                    )  # fmt: skip
                    rows.append(
                        Evaluation(
                            slot=slot, arm="default" if index else "tuned", config=CONFIG, status="finished",
                            validation_metric=0.2, validation_loss=0.2, best_step=1, steps=1,
                            test={"best_validation": 0.5 - error if index else error, "last": 0.5},
                        )
                    )  # fmt: skip
    return rows


def test_the_runner_drops_and_stops_as_planned_on_120_studies() -> None:
    seen: Counter[str] = Counter()
    for seed in range(120):
        given = study(seed)
        names = NAMES[: given.errors.shape[2]]
        now = course(given, [])
        for taken in range(1, len(given.possible) + 1):
            reached = given.possible[taken - 1]
            assert now.families == reached
            now = course(given, trained(given, now))
            expected = given.raced(taken)
            assert now.dropped == {names[i]: look for i, look in expected.dropped.items()}, seed
            stopped = expected.alive[0] in expected.good or taken == len(given.possible)
            assert now.decided == stopped, seed
            if stopped:
                break
            left = {names[i] for i in expected.alive}
            assert all(set(levels) == left for levels in now.ahead.values()), seed
            places = enumerate(given.family)
            fresh = [now.called[f"t{t}"] for t, f in places if reached <= f < given.possible[taken]]
            assert fresh and all(set(levels) == left for levels in fresh), seed
        assert now.families == expected.stop
        seen["dropped"] += bool(expected.dropped)
        seen["stopped early"] += expected.stop < given.possible[-1]
        plain = reference.race(
            given.errors, given.delta.tolist(), given.family.tolist(), given.possible[:1], 0.05
        )
        first = given.raced(1)
        seen["first look decides otherwise"] += (first.alive, first.good) != (plain.alive, plain.good)
    assert min(seen[what] for what in ("dropped", "stopped early", "first look decides otherwise")) >= 10


def evidence(given: Study) -> Evidence:
    names = NAMES[: given.errors.shape[2]]
    count = len(given.family)
    return Evidence(
        question=given.question,
        regime="deep",
        levels=names,
        tasks=tuple(f"t{t}" for t in range(count)),
        families=tuple(f"f{f}" for f in range(int(given.family.max()) + 1)),
        family=given.family,
        real=(True,) * count,
        generated=(False,) * count,
        percent=(True,) * count,
        delta=given.delta,
        tuned=given.errors,
        untuned=0.5 - given.errors,
        finished=np.ones(len(names)),
        overlap=np.full(count, 0.4),
        seeds=1,
        ids=(),
    )


def test_the_report_races_and_decides_as_planned_on_200_studies() -> None:
    """Also where the tasks ran out before the last planned look: alpha was spread over all of them."""
    seen: Counter[str] = Counter()
    for seed in range(200):
        given = study(seed)
        names = NAMES[: given.errors.shape[2]]
        expected = given.raced(len(given.possible))
        decision = decide(evidence(given), looks=given.looks)
        assert decision.admissible == tuple(names[i] for i in expected.good), seed
        for pair, (low, high) in expected.pairs.items():
            found = (decision.comparison.lower[pair], decision.comparison.upper[pair])
            assert found == pytest.approx((low, high)), seed
        seen["tasks ran out"] += len(given.possible) < len(given.looks)
        seen["proved"] += bool(expected.good)
        fixed = decide(evidence(given), looks=len(given.looks))
        level = 0.05 / (len(names) * len(given.looks))
        bounds = reference.all_bounds(given.errors, given.delta.tolist(), given.family.tolist(), level)
        for pair, (low, high) in bounds.items():
            found = (fixed.comparison.lower[pair], fixed.comparison.upper[pair])
            assert found == pytest.approx((low, high)), seed
    assert min(seen[what] for what in ("tasks ran out", "proved")) >= 20


def test_few_families_with_several_planned_looks_get_one_look_corrected_for_all() -> None:
    """Of fewer than 8 families there is no race; what was planned is spent all the same."""
    given = study(3)
    few = np.flatnonzero(given.family < 5)
    body = evidence(given).on(given.family < 5)
    decision = decide(body, looks=given.looks)
    level = 0.05 / (len(body.levels) * len(given.looks))
    for a, b in ((0, 1), (1, 0)):
        mean, error, freedom = reference.over_splits(
            given.errors[few], given.delta[few].tolist(), given.family[few].tolist(), [0.4] * len(few), a, b
        )
        half = reference.quantile(level, freedom) * error
        found = (decision.comparison.lower[a, b], decision.comparison.upper[a, b])
        assert found == pytest.approx((mean - half, mean + half))
