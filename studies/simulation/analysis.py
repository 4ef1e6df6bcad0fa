"""Simulated studies through the lines that judge a real one: compare, race, label, challenge, adjudicate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reports.statistics import claim_rules, compare, decision, false_discovery, racing, reversals
from reports.statistics.compare import Array
from studies.simulation.planted_truth import Numbers, PlantedTruth, planted

ALPHA = 0.05
LOOKS = (8, 16, 24)
BLOCKS = 4

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedVerdicts:
    """What the rule said to each of S simulated studies."""

    recommended: NDArray[np.int64]
    """[S] level number; -1 where no level is proved good enough."""
    labels: NDArray[np.str_]
    """[S] of the row, against the textbook set."""
    claimed: Bools
    """[S] some pair of levels was called better or worse."""
    level_tasks: NDArray[np.int64]
    """[S] (level, task) pairs that were trained."""


def judged(
    errors: Array, *, looks: Sequence[int], textbook: Sequence[int], planned: int | None = None
) -> SimulatedVerdicts:
    """Races [S, T, R, L] errors and labels the rows; one look is a fixed number of tasks."""
    tasks, levels = errors.shape[1], errors.shape[-1]
    ran = racing.race(errors, np.ones(tasks), np.arange(tasks), looks=looks, alpha=ALPHA, planned=planned)
    bounds = ran.comparison
    return SimulatedVerdicts(
        recommended=np.where(ran.admissible.any(axis=-1), ran.admissible.argmax(axis=-1), -1),
        labels=decision.labels(
            bounds.lower, bounds.upper, np.isin(np.arange(levels), textbook), surviving=ran.surviving
        ),
        claimed=np.asarray(decision.worse(bounds.lower, bounds.upper).any(axis=(-1, -2))),
        level_tasks=ran.level_tasks,
    )


def pair(errors: Array, *, looks: int = 1) -> claim_rules.EffectBounds:
    """How much worse the first level of [..., T, R, 2] is than the second: u > 0, the second is better."""
    tasks = errors.shape[-3]
    found = compare.compare(errors, np.ones(tasks), np.arange(tasks), alpha=ALPHA, looks=looks)
    return claim_rules.between(found, 1, 0)


def covered(errors: Array, truth: float) -> Bools:
    """[S] whether the 95 % interval of the first level against the second contains `truth`."""
    tasks = errors.shape[-3]
    found = compare.compare(errors, np.ones(tasks), np.arange(tasks), alpha=ALPHA)
    return np.asarray((found.interval_low[..., 0, 1] <= truth) & (truth <= found.interval_high[..., 0, 1]))


def always(errors: Array, fresh: Array) -> NDArray[np.str_]:
    """[S] what 'the second level always beats the first' is called, challenge stage included.

    Args:
        errors: [S, T, R, 2] of the confirm phase.
        fresh: [S, T, 16, 2] what fresh blocks of each task would show; only the worst tasks' are read.
    """
    tasks = errors.shape[1]
    effects = compare.block_effects(errors, np.ones(tasks))
    half = compare.prediction_half_width(effects, np.arange(tasks))[..., 0, 1]
    u = pair(errors)
    worst = reversals.worst_tasks(effects[..., 0, 1].mean(axis=-1))
    again = np.take_along_axis(fresh, worst[:, :, None, None], axis=1)
    blocks = compare.block_effects(again, np.ones(worst.shape[-1]))[..., 0, 1]
    reversed_tasks = reversals.reversed_tasks(blocks, alpha=ALPHA).sum(axis=-1)
    return claim_rules.always_claim(u, u.mean - half, reversed_tasks)


def ledger(errors: Array) -> NDArray[np.str_]:
    """[S, C] states of C claims per ledger after Benjamini and Hochberg, from errors [S, C, T, R, 2]."""
    u = pair(errors)
    found = claim_rules.states(u)
    p = false_discovery.state_p(u, found, float(errors.shape[-3] - 1))
    stands = false_discovery.adjusted(p) <= false_discovery.FALSE_DISCOVERIES
    return np.where(stands, found, "unresolved")


@lru_cache(maxsize=64)
def shift_for(plant: PlantedTruth, regret: float) -> float:
    """The raw lead that gives a mean *clipped* regret of `regret` under this plant's noise.

    Verdicts are about the clipped regret (method.md 2.6): with 5 % divergences a level that is raw 1 margin
    worse has a clipped regret of only 0.9, so the plant is set where the rule is aimed at.
    """
    draws = planted(replace(plant, truth=(0.0, 0.0)), np.random.Generator(np.random.Philox(7)), 1, 400_000, 1)
    apart = draws[..., 1] - draws[..., 0]
    low, high = 0.0, compare.CLIP
    for _ in range(40):
        middle = (low + high) / 2
        reached = np.clip(apart + middle, -compare.CLIP, compare.CLIP).mean() >= regret
        low, high = (low, middle) if reached else (middle, high)
    return (low + high) / 2


def leading(
    plant: PlantedTruth, numbers: Numbers, studies: int, tasks: int, *, regret: float, levels: int
) -> Array:
    """[S, T, R, L] errors where the costliest level leads all others by a clipped regret of `regret`."""
    shift = shift_for(plant, regret)
    return planted(replace(plant, truth=(shift,) * (levels - 1) + (0.0,)), numbers, studies, tasks, BLOCKS)
