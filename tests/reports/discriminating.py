"""A study in which nothing agrees with anything by chance: what tells one number of a page from another.

The last look is not the best one, the untuned arm ranks otherwise than the tuned, two numbers are tuned,
regimes differ in their errors, their margins and their trivial errors, backgrounds in activation and
optimizer, families in size, effects lie about one margin, rows race over three looks, and a run diverged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from reports.evidence.budget import Budget, Margin, TaskFacts
from reports.evidence.question import Question
from reports.evidence.study_record import StudyRecord
from search_spaces.config import Config, digest
from tests.reports.planted import BACKGROUND, SETTINGS, VERSIONS
from trainers.evaluation import CurvePoint, Evaluation, Phase, Slot

LEVELS = ("torch_default", "glorot_normal", "lecun_normal", "he_normal")
"""Cheapest first."""

TEXTBOOKS: dict[str, dict[str, tuple[str, ...]]] = {
    "ours": {"shallow": ("glorot_normal", "he_normal"), "deep": ("he_normal",)},
    "wrong": {"shallow": ("he_normal", "torch_default"), "deep": ("lecun_normal", "glorot_normal")},
    "dropped": {"shallow": ("he_normal",), "deep": ("torch_default",)},
    "without this row": {"shallow": (), "deep": ()},
}
"""What the textbook may say -> regime -> its levels."""

MEANS = {"shallow": (0.8, 0.0, 0.3, 3.2), "deep": (1.2, 0.9, 1.0, 0.0)}
"""Regime -> true error of each level, in margins."""

UNTUNED = {"shallow": (1.5, 2.5, 0.2, 0.9), "deep": (0.0, 2.2, 1.4, 1.1)}
LAST = {"shallow": (0.1, 1.1, 0.6, 0.0), "deep": (2.4, 0.0, 0.8, 1.9)}
LOOKS = (8, 12, 16)
BUDGET = Budget(
    profile="standard", blocks=3, trials=6, promoted=2, promote_seeds=1, confirm_seeds=2, looks=LOOKS
)
NUISANCE = {"learning_rate": (1e-4, 0.5), "weight_decay": (1e-5, 0.1)}
BACKGROUNDS: tuple[dict[str, str], ...] = (
    {"activation": "relu", "optimizer": "adamw"},
    {"activation": "tanh", "optimizer": "nesterov"},
    {"activation": "selu", "optimizer": "adamw"},
)
FAMILIES = (0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 9, 9, 10, 11, 12, 13, 14, 15)
"""Of each task; two generators have variants."""


@cache
def discriminating(
    *,
    looks: tuple[int, ...] = LOOKS,
    families: tuple[int, ...] = FAMILIES,
    regimes: tuple[str, ...] = ("shallow", "deep"),
    noise: float = 0.5,
    textbook: str = "ours",
    seed: int = 0,
    name: str = "discriminating",
) -> StudyRecord:
    """The study, with what its races call for and nothing else.

    Args:
        looks: families after which it may be looked at.
        families: number of each task's family.
        regimes: some of MEANS.
        noise: SD of a level's error between the blocks of a task, in margins; between tasks four fifths of
            that.
        textbook: one of TEXTBOOKS.
        seed: of all that is random.
        name: of the study.
    """
    rng = np.random.default_rng(seed)
    tasks = tuple(f"task_{t}" for t in range(len(families)))
    budget = replace(BUDGET, looks=tuple(looks))
    facts = {task: _facts(task, families[t], t) for t, task in enumerate(tasks)}
    margins = tuple(_margin(task, regime, rng) for regime in regimes for task in tasks)
    rows: list[Evaluation] = []
    for regime in regimes:
        delta = np.array([margin.delta for margin in margins if margin.regime == regime])
        trivial = {margin.task: margin.trivial_error for margin in margins if margin.regime == regime}
        shape = (len(tasks), budget.blocks, len(LEVELS))
        base = 0.2 + rng.normal(0, 0.02, (len(tasks), 1, 1)) + rng.normal(0, 0.006, (*shape[:2], 1))
        arms = [
            base + delta[:, None, None] * (np.array(means) + _spread(rng, shape, noise))
            for means in (MEANS[regime], UNTUNED[regime], LAST[regime])
        ]
        for t, task in enumerate(tasks):
            for block in range(budget.blocks):
                design = _design(rng, budget.trials)
                for i, level in enumerate(LEVELS):
                    place = (name, regime, task, t, block, level, i)
                    rows += _cell(place, [arm[t, block, i] for arm in arms], design, budget, trivial[task])
        rows += [_pilot(name, regime, task, seed) for task in tasks for seed in range(5)]
    record = StudyRecord(
        name=name,
        title="Which initializer?",
        questions=(
            Question(
                factor="initializer",
                levels=(LEVELS[3], LEVELS[0], LEVELS[2], LEVELS[1]),
                regimes=tuple(regimes),
                cost={level: rank for rank, level in enumerate(LEVELS)},
                textbook={regime: TEXTBOOKS[textbook][regime] for regime in regimes},
            ),
        ),
        regimes={regime: vars(SETTINGS[regime]) for regime in regimes},
        fixed={"schedule": "constant"},
        background={task: BACKGROUNDS[t % 3] for t, task in enumerate(tasks)},
        nuisance=NUISANCE,
        tasks={"initializer": dict.fromkeys(regimes, tasks)},
        facts=facts,
        margins=margins,
        budget=budget,
        sampler="sobol",
        planned={},
        evaluations=tuple(rows),
        plan_hash="3f2c9a7716ab00d1",
        protocol_hash="77aa0b1cd2233445",
        revision=2,
        versions=VERSIONS,
        hardware="cpu",
    )
    return called_for(record)


def called_for(record: StudyRecord) -> StudyRecord:
    """The study with what its races call for, planned as it was run."""
    rows = tuple(
        row
        for row in record.evaluations
        if not row.slot.factor
        or row.slot.level in record.courses[row.slot.factor, row.slot.regime].called.get(row.slot.task, ())
    )
    ran = Counter(row.slot.phase for row in rows)
    phases = ("pilot", "retune", "promote", "confirm")
    return replace(record, evaluations=rows, planned={p: ran[cast(Phase, p)] for p in phases})


def _spread(rng: np.random.Generator, shape: tuple[int, ...], noise: float) -> NDArray[np.float64]:
    between = 0.8 * noise * rng.normal(size=(shape[0], 1, shape[2]))
    return np.asarray(between + noise * rng.normal(size=shape))


def _facts(task: str, family: int, number: int) -> TaskFacts:
    return TaskFacts(
        name=task,
        family=f"family_{family}",
        real=family % 3 == 0,
        kind="classification",
        metric="error_rate",
        items=1900 + 10 * number,
        features=10 + number,
        n_test=240 + number,
        licence="CC0" if family % 3 == 0 else "generated by groundrules, Apache 2.0",
        source="planted",
        content_hash=digest(task),
    )


def _margin(task: str, regime: str, rng: np.random.Generator) -> Margin:
    return Margin(
        task=task,
        regime=regime,
        delta=float(rng.uniform(0.01, 0.03)),
        floor="relative",
        best_error=float(rng.uniform(0.15, 0.25)),
        best_recipe="reference",
        trivial_error=float(rng.uniform(0.5, 0.8)),
        seed_sd=float(rng.uniform(0.005, 0.02)),
        accepted=True,
    )


def _design(rng: np.random.Generator, trials: int) -> NDArray[np.float64]:
    """[trials + 1, 2] places in the ranges of the two numbers; the first row is the library's default."""
    places = (rng.permutation(trials)[:, None] + rng.random((trials, 2))) / trials
    places[:, 1] = rng.permutation(places[:, 1])
    rates, decays = (
        10 ** (np.log10(low) + column * np.log10(high / low))
        for column, (low, high) in zip(places.T, NUISANCE.values(), strict=True)
    )
    return np.array([[1e-3, 1e-2], *(np.vectorize(_rounded)(np.stack([rates, decays], axis=1)))])


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


Where = tuple[str, str, str, int, int, str, int]
"""Study, regime, task, its number, block, level, its number."""


def _cell(
    where: Where,
    errors: Sequence[float],
    design: NDArray[np.float64],
    budget: Budget,
    trivial: float,
) -> list[Evaluation]:
    """The whole chain of one task, block and level; `errors` are tuned, untuned and after the last step."""
    name, regime, task, t, block, level, i = where
    tuned, untuned, last = errors
    adamw = BACKGROUNDS[t % 3]["optimizer"] == "adamw"

    def row(phase: Phase, index: int, point: NDArray[np.float64], **more: object) -> Evaluation:
        slot = Slot(
            study=name, factor="initializer", task=task, regime=regime, block=block, level=level, phase=phase,
            index=index,
        )  # fmt: skip
        names = ("learning_rate", "weight_decay")[: 2 if adamw else 1]
        config = Config(
            levels=BACKGROUND | BACKGROUNDS[t % 3] | {"initializer": level},
            numbers={key: float(value) for key, value in zip(names, point, strict=False)},
            setting=SETTINGS[regime],
        )
        return _evaluation(slot, config, **more)  # type: ignore[arg-type]

    rows, scores = [], []
    best = (-2.4 + 0.3 * i, -3.2 + 0.2 * (t % 4))
    for index, point in enumerate(design):
        rate, decay = np.log10(point)
        miss = 1.4 * (rate - best[0]) ** 2 + (0.7 * (decay - best[1]) ** 2 if adamw else 0.0)
        diverged = bool(point[0] > 0.3)
        score = trivial if diverged else tuned + 0.02 * float(miss)
        scores.append(score)
        status = "diverged" if diverged else "pruned" if (t, block, i, index) == (1, 1, 1, 4) else "finished"
        rows.append(
            row("retune", index, point, error=score, status=status, arm="tuned" if index else "default")
        )
    order = sorted(range(1, len(design)), key=lambda index: scores[index])[: budget.promoted]
    for rank, index in enumerate(order):
        rows.append(row("promote", rank, design[index], error=scores[index]))
    chosen = design[order[(t + block) % len(order)]]
    swing = 0.002 + 0.001 * ((t + block + i) % 3)
    lost = (t, block, i, regime) in ((2, 1, 2, "deep"), (5, 0, 0, "shallow"))
    for seed in range(budget.confirm_seeds):
        offset = swing * (1 - 2 * seed)
        test = {"best_validation": tuned + offset, "last": last - 2 * offset}
        status = "diverged" if lost and seed == 1 else "finished"
        score = trivial if status == "diverged" else tuned - 0.01
        rows.append(row("confirm", seed, chosen, error=score, status=status, test=test))
        test = {"best_validation": untuned - offset, "last": untuned + 0.01}
        index = budget.confirm_seeds + seed
        rows.append(row("confirm", index, design[0], error=untuned - 0.01, test=test, arm="default"))
    return rows


def _pilot(name: str, regime: str, task: str, seed: int) -> Evaluation:
    slot = Slot(
        study=name, factor="", task=task, regime=regime, block=0, level="reference", phase="pilot", index=seed
    )
    config = Config(levels=BACKGROUND, numbers={"learning_rate": 0.01}, setting=SETTINGS[regime])
    bits = np.random.default_rng(int(slot.id[:8], 16)).random()
    return _evaluation(slot, config, error=0.21 + 0.02 * float(bits))


def _evaluation(
    slot: Slot,
    config: Config,
    *,
    error: float,
    status: str = "finished",
    arm: str = "tuned",
    test: dict[str, float] | None = None,
) -> Evaluation:
    """One member: its curve falls at a pace of its own to its error, and rises a little after that."""
    bits = np.random.default_rng(int(slot.id[:8], 16)).random(4)
    metrics = (error + 0.1 * (1 + bits[0]), error + 0.04 * bits[1], error, error + 0.02 * bits[2])
    curve = tuple(
        CurvePoint(
            step=75 * (k + 1),
            train_loss=float(bits[k]),
            validation_loss=1.0,
            validation_metric=float(metric),
            learning_rate=0.1,
        )
        for k, metric in enumerate(metrics)
    )
    diverged = status == "diverged"
    return Evaluation(
        slot=slot,
        arm=arm,  # type: ignore[arg-type]
        config=config,
        status=status,  # type: ignore[arg-type]
        cause="non_finite_loss" if diverged else "",
        validation_metric=error,
        validation_loss=float("inf") if diverged else 2 * error,
        best_step=0 if diverged else 225,
        test=None if diverged else test,
        curve=() if diverged else curve,
        steps=120 if diverged else 300,
        versions=VERSIONS,
    )
