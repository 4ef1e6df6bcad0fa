"""The planted truth: errors of simulated studies whose right answer is known (method.md 2.14 A).

Everything is in margins, so delta is 1 and only differences between levels matter. Axes: S study, T task
(one per family), R block, L level, K search point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.statistics.compare import Array

Numbers = np.random.Generator

TRIVIAL = 180.0
"""Margins by which a diverged run, scored like the trivial predictor, lies above the others."""


@dataclass(frozen=True, kw_only=True)
class PlantedTruth:
    """What is true of the levels, and how noisily it shows."""

    truth: tuple[float, ...]
    """[L] true error of each level, cheapest first."""
    tau: float = 0.25
    """SD between tasks of a level's effect."""
    block_sd: float = 1.0
    """SD between blocks of a level's mean over its confirm seeds."""
    heavy: bool = False
    """Noise of blocks has the tails of Student's t with 3 degrees of freedom, at the same SD."""
    diverged: float = 0.0
    """Chance that a block's level diverges."""


def planted(plant: PlantedTruth, numbers: Numbers, studies: int, tasks: int, blocks: int) -> Array:
    """[S, T, R, L] confirm errors."""
    shape = (studies, tasks, blocks, len(plant.truth))
    between = plant.tau * numbers.standard_normal((studies, tasks, 1, len(plant.truth)))
    noise = numbers.standard_t(3, shape) / np.sqrt(3.0) if plant.heavy else numbers.standard_normal(shape)
    errors: Array = np.asarray(plant.truth) + between + plant.block_sd * noise
    if plant.diverged:
        errors = np.where(numbers.random(shape) < plant.diverged, TRIVIAL, errors)
    return errors


@dataclass(frozen=True, kw_only=True)
class RateBowl:
    """Levels whose error depends on a learning rate that must be found: a bowl with a cliff."""

    truth: tuple[float, ...]
    """[L] error at each level's best rate."""
    optimum: tuple[float, ...]
    """[L] best rate, in decades from the middle of the range."""
    seed_sd: tuple[float, ...]
    """[L] SD of one training's error over seeds."""
    curvature: float = 2.0
    """Margins lost at one decade from the best rate."""
    cliff: float = 1.5
    """Decades above its best rate at which a level diverges."""
    half_range: float = 2.0
    """Decades from the middle of the range to its ends."""
    tau: float = 0.25
    optimum_sd: float = 0.2
    """SD between tasks of the best rate, in decades."""


@dataclass(frozen=True, kw_only=True)
class SearchBudget:
    """Budget of a simulated search, the same for all levels (profile `full`)."""

    trials: int = 16
    promoted: int = 4
    promote_seeds: int = 3
    confirm_seeds: int = 3


def searched(
    bowl: RateBowl,
    numbers: Numbers,
    studies: int,
    tasks: int,
    blocks: int,
    effort: SearchBudget | None = None,
) -> Array:
    """[S, T, R, L] confirm errors after retuning every level: new seeds in each phase, one design a block.

    The selection is that of `studies.comparison.stages`: the best points by validation, promoted with new
    seeds, the best mean confirmed with yet other seeds.
    """
    budget = effort or SearchBudget()
    levels = len(bowl.truth)
    cells = (studies, tasks, blocks, levels)
    optimum, height = _bowls(bowl, numbers, studies, tasks)
    # One scrambled, stratified design per block, shared by all levels.
    strata = numbers.permuted(np.tile(np.arange(budget.trials), (studies, tasks, blocks, 1)), axis=-1)
    places = (strata + numbers.random(strata.shape)) / budget.trials
    rates = bowl.half_range * (2 * places - 1)[..., None, :]  # [S, T, R, 1, K]
    means = np.broadcast_to(
        _error(bowl, rates, optimum[..., None], height[..., None]), (*cells, budget.trials)
    )
    sd = np.asarray(bowl.seed_sd)
    first = means + sd[:, None] * numbers.standard_normal(means.shape)
    top = np.argsort(first, axis=-1, kind="stable")[..., : budget.promoted]
    candidates = np.take_along_axis(means, top, axis=-1)
    again = candidates + sd[:, None] / np.sqrt(budget.promote_seeds) * numbers.standard_normal(
        candidates.shape
    )
    best = np.take_along_axis(candidates, again.argmin(axis=-1)[..., None], axis=-1)[..., 0]
    found: Array = best + sd / np.sqrt(budget.confirm_seeds) * numbers.standard_normal(cells)
    return found


def chosen_of_fixed(
    bowl: RateBowl, numbers: Numbers, studies: int, tasks: int, *, points: int, seeds: int
) -> Array:
    """[S, T, seeds, L] test errors of a fixed design: the same points for every level, each with every seed.

    The point with the best mean validation over its seeds is read on the test set, seed by seed; noise of
    validation and test is independent, so that the choice is not paid for by optimism.
    """
    optimum, height = _bowls(bowl, numbers, studies, tasks)
    places = (np.arange(points) + numbers.random((studies, tasks, 1, 1, points))) / points
    means = _error(bowl, bowl.half_range * (2 * places - 1), optimum[..., None], height[..., None])
    sd = np.asarray(bowl.seed_sd)
    seen = means + sd[:, None] / np.sqrt(seeds) * numbers.standard_normal(means.shape)
    best = np.take_along_axis(means, seen.argmin(axis=-1)[..., None], axis=-1)[..., 0]  # [S, T, 1, L]
    found: Array = best + sd * numbers.standard_normal((studies, tasks, seeds, len(bowl.truth)))
    return found


def at_one_rate(
    bowl: RateBowl, numbers: Numbers, studies: int, tasks: int, blocks: int, rate: float = 0.0
) -> Array:
    """[S, T, R, L] errors when all levels share one learning rate: what the method is there to prevent."""
    optimum, height = _bowls(bowl, numbers, studies, tasks)
    means = _error(bowl, np.asarray(rate), optimum, height)
    shape = (studies, tasks, blocks, len(bowl.truth))
    found: Array = means + np.asarray(bowl.seed_sd) / np.sqrt(3.0) * numbers.standard_normal(shape)
    return found


def best_score(
    bowl: RateBowl,
    numbers: Numbers,
    studies: int,
    tasks: int,
    blocks: int,
    effort: SearchBudget | None = None,
) -> Array:
    """[S, T, R, L] the best search score of each level: optimistic, and never evidence."""
    budget = effort or SearchBudget()
    optimum, height = _bowls(bowl, numbers, studies, tasks)
    places = (
        np.arange(budget.trials) + numbers.random((studies, tasks, blocks, 1, budget.trials))
    ) / budget.trials
    means = _error(bowl, bowl.half_range * (2 * places - 1), optimum[..., None], height[..., None])
    noise = np.asarray(bowl.seed_sd)[:, None] * numbers.standard_normal(means.shape)
    found: Array = (means + noise).min(axis=-1)
    return found


def _bowls(bowl: RateBowl, numbers: Numbers, studies: int, tasks: int) -> tuple[Array, Array]:
    """[S, T, 1, L] best rate and least error of each level on each task."""
    shape = (studies, tasks, 1, len(bowl.truth))
    optimum = np.asarray(bowl.optimum) + bowl.optimum_sd * numbers.standard_normal(shape)
    height = np.asarray(bowl.truth) + bowl.tau * numbers.standard_normal(shape)
    return optimum, height


def _error(bowl: RateBowl, rates: Array, optimum: Array, height: Array) -> Array:
    away = rates - optimum
    found: Array = np.where(away > bowl.cliff, TRIVIAL, height + bowl.curvature * away**2)
    return found
