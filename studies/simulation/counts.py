"""What is counted in simulated studies whose truth is planted: one function for each row of the validation.

Each takes a generator and a number of studies; studies are independent, so that counts of parts add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from reports.evidence import control_arms
from reports.statistics import claim_rules, compare
from reports.statistics.compare import Array
from reports.verdicts import regime_interaction
from studies.simulation.analysis import ALPHA, BLOCKS, LOOKS, always, covered, judged, leading, ledger, pair
from studies.simulation.planted_truth import (
    Numbers,
    PlantedTruth,
    RateBowl,
    at_one_rate,
    best_score,
    planted,
    searched,
)

Counts = Mapping[str, tuple[int, int]]
"""What was counted -> (hits, out of)."""

FALSE = "false 'better' or 'worse'"
WRONG = "a level a margin worse recommended"


def _count(hits: np.ndarray) -> tuple[int, int]:
    return int(hits.sum()), int(hits.size)


def equal_levels(numbers: Numbers, studies: int) -> Counts:
    """Six equal levels, raced."""
    result = judged(
        planted(PlantedTruth(truth=(0.0,) * 6), numbers, studies, 24, BLOCKS), looks=LOOKS, textbook=(1, 2)
    )
    return {
        FALSE: _count(result.claimed),
        "a level dropped": _count(result.recommended > 0),
        "the cheapest of the tied is named": _count(result.recommended == 0),
    }


def placebo(numbers: Numbers, studies: int) -> Counts:
    """One level twice: nothing may be claimed, and the control must not fail."""
    errors = planted(PlantedTruth(truth=(0.0, 0.0), tau=0.0), numbers, studies, 8, BLOCKS)
    state = claim_rules.states(pair(errors))
    control = control_arms.control_states(errors, np.ones(8), np.arange(8), alpha=ALPHA, count=3)
    return {
        FALSE: _count(np.isin(state, ("better", "worse"))),
        "tied": _count(state == "tied"),
        "study stamped INVALID": _count(control_arms.fails("a_a", control)),
    }


def least_favourable(numbers: Numbers, studies: int) -> Counts:
    """The costliest level is best, and all others are exactly one margin worse."""
    plant = PlantedTruth(truth=())
    fixed = judged(leading(plant, numbers, studies, 12, regret=1.0, levels=6), looks=(12,), textbook=(5,))
    raced = judged(leading(plant, numbers, studies, 24, regret=1.0, levels=6), looks=LOOKS, textbook=(5,))
    return {
        f"{WRONG}, 12 tasks": _count((fixed.recommended >= 0) & (fixed.recommended < 5)),
        f"{WRONG}, raced": _count((raced.recommended >= 0) & (raced.recommended < 5)),
    }


def at_the_margin(numbers: Numbers, studies: int) -> Counts:
    """A pair exactly one margin apart, on few and on many tasks."""
    counts: dict[str, tuple[int, int]] = {}
    for tasks in (8, 24):
        errors = leading(PlantedTruth(truth=()), numbers, studies, tasks, regret=1.0, levels=2)
        counts[f"'tied', {tasks} tasks"] = _count(claim_rules.states(pair(errors)) == "tied")
    return counts


def two_margins_apart(numbers: Numbers, studies: int) -> Counts:
    """A pair two margins apart."""
    errors = leading(PlantedTruth(truth=()), numbers, studies, 8, regret=2.0, levels=2)
    result = judged(errors, looks=(8,), textbook=(1,))
    claim = claim_rules.better_claim(pair(errors))
    return {
        "row confirmed": _count(result.labels == "confirmed"),
        "claim confirmed": _count(claim == "confirmed"),
    }


SHIFTED = RateBowl(truth=(0.0, 0.0), optimum=(-0.5, 0.5), seed_sd=(1.0, 1.0))


def shifted_optima(numbers: Numbers, studies: int) -> Counts:
    """Equal levels whose best learning rates differ, each tuned and at one shared rate."""
    tuned = claim_rules.states(pair(searched(SHIFTED, numbers, studies, 12, BLOCKS)))
    bowl = replace(SHIFTED, optimum=(0.0, 1.0))
    shared = claim_rules.states(pair(at_one_rate(bowl, numbers, studies, 12, BLOCKS)))
    return {
        FALSE: _count(np.isin(tuned, ("better", "worse"))),
        "tied": _count(tuned == "tied"),
        "false at one shared rate": _count(np.isin(shared, ("better", "worse"))),
    }


NOISY = RateBowl(truth=(0.0, 0.0), optimum=(0.0, 0.0), seed_sd=(0.7, 2.1))


def noisy_level(numbers: Numbers, studies: int) -> Counts:
    """Equal levels of which one has the larger seed noise."""
    tuned = claim_rules.states(pair(searched(NOISY, numbers, studies, 12, BLOCKS)))
    naive = claim_rules.states(pair(best_score(NOISY, numbers, studies, 12, BLOCKS)))
    return {
        "false win of the noisy level": _count(tuned == "better"),
        "called worse (harder to tune)": _count(tuned == "worse"),
        "false win by best search score": _count(naive == "better"),
    }


def heterogeneous(numbers: Numbers, studies: int) -> Counts:
    """Levels whose effects differ from task to task by about a margin."""
    plant = PlantedTruth(truth=(), tau=1.0)
    counts: dict[str, tuple[int, int]] = {}
    for tasks in (12, 24):
        equal = planted(replace(plant, truth=(0.0,) * 6), numbers, studies, tasks, BLOCKS)
        result = judged(equal, looks=(tasks,), textbook=(1,))
        worse = judged(
            leading(plant, numbers, studies, tasks, regret=1.0, levels=6), looks=(tasks,), textbook=(5,)
        )
        counts |= {
            f"{WRONG}, {tasks} tasks": _count((worse.recommended >= 0) & (worse.recommended < 5)),
            f"equal levels: 'contradicted', {tasks} tasks": _count(result.labels == "contradicted"),
            f"equal levels: a pair called unequal, {tasks} tasks": _count(result.claimed),
            f"equal levels: insufficient, {tasks} tasks": _count(result.recommended < 0),
        }
    return counts


HARSH = PlantedTruth(truth=(), heavy=True, diverged=0.05)


def harsh_noise(numbers: Numbers, studies: int) -> Counts:
    """Divergences and heavy-tailed noise, with the levels of `least_favourable`."""
    fixed = judged(leading(HARSH, numbers, studies, 24, regret=1.0, levels=6), looks=(24,), textbook=(5,))
    raced = judged(leading(HARSH, numbers, studies, 24, regret=1.0, levels=6), looks=LOOKS, textbook=(5,))
    equal = planted(replace(HARSH, truth=(0.0,) * 6), numbers, studies, 24, BLOCKS)
    return {
        f"{WRONG}, 24 tasks": _count((fixed.recommended >= 0) & (fixed.recommended < 5)),
        f"{WRONG}, raced": _count((raced.recommended >= 0) & (raced.recommended < 5)),
        "equal levels: the cheapest is named": _count(
            judged(equal, looks=(24,), textbook=(1,)).recommended == 0
        ),
    }


def coverage(numbers: Numbers, studies: int) -> Counts:
    """How often a 95 % interval holds the true difference, under the same noise."""
    equal = planted(replace(HARSH, truth=(0.0, 0.0)), numbers, studies, 24, BLOCKS)
    margin = leading(HARSH, numbers, studies, 24, regret=1.0, levels=2)
    return {
        "95 % interval covers, equal levels": _count(covered(equal, 0.0)),
        "95 % interval covers, one margin apart": _count(covered(margin, 1.0)),
    }


DEPTHS = (2, 4, 8, 16, 30)
CROSSING = 12.0


def crossing_effect(numbers: Numbers, studies: int) -> Counts:
    """An effect that changes its sign between the depths that are measured."""
    effect = np.clip(2.0 * np.log2(np.asarray(DEPTHS) / CROSSING), -3.0, 3.0)
    units = []
    for u in effect:
        errors = planted(PlantedTruth(truth=(float(u), 0.0), tau=0.5), numbers, studies, 12, BLOCKS)
        units.append(compare.block_effects(errors, np.ones(12))[..., 0, 1].mean(axis=-1))
    result = regime_interaction.crossover(np.stack(units, axis=-1), DEPTHS)
    width = result.high / result.low
    return {
        "interval covers depth 12": _count((result.low <= CROSSING) & (result.high >= CROSSING)),
        "ends within a factor of 2": _count(width <= 2.0),
    }


def always_claims(numbers: Numbers, studies: int) -> Counts:
    """'Always' claims with one task that reverses them, and with none."""
    counts: dict[str, tuple[int, int]] = {}
    for reversed_by, name in ((3.0, "one task reversed"), (None, "none reversed")):
        lead = np.full(16, 2.0)
        if reversed_by is not None:
            lead[0] = -reversed_by
        own = 0.25 * numbers.standard_normal((studies, 16, 1)) * (lead > 0)[:, None]
        errors, fresh = (_led(lead[:, None] + own, numbers, blocks) for blocks in (BLOCKS, 16))
        result = always(errors, fresh)
        counts |= {
            f"{name}: contradicted": _count(result == "contradicted"),
            f"{name}: confirmed": _count(result == "confirmed"),
        }
    return counts


def _led(lead: Array, numbers: Numbers, blocks: int) -> Array:
    """[S, T, blocks, 2] errors where the second level leads by [S, T, 1] margins."""
    noise = numbers.standard_normal((*lead.shape[:2], blocks, 2))
    noise[..., 0] += lead
    return noise


CLAIMED = (0.0,) * 70 + (0.5,) * 6 + (1.0,) * 8 + (2.0,) * 8 + (3.0,) * 8
"""True effects of a ledger's 100 claims, in margins."""


def claim_ledger(numbers: Numbers, studies: int) -> Counts:
    """Ledgers of many claims, most of them without an effect."""
    truth = np.asarray(CLAIMED)
    tasks = 12
    own = 0.25 * numbers.standard_normal((studies, len(truth), tasks, 1))
    noise = numbers.standard_normal((studies, len(truth), tasks, BLOCKS, 2))
    noise[..., 0] += truth[:, None, None] + own
    result = ledger(noise)
    given = result != "unresolved"
    # 'Tied' is false from one margin on, 'worse' always, 'better' where there is no effect.
    wrong = (result == "worse") | ((result == "better") & (truth <= 0)) | ((result == "tied") & (truth >= 1))
    counts = {
        "false among verdicts given": (int(wrong.sum()), int(given.sum())),
        "of 70 null claims: called tied": _count(result[:, truth == 0] == "tied"),
    }
    for effect in (0.5, 1.0, 2.0, 3.0):
        counts[f"effect {effect:g}: 'better'"] = _count(result[:, truth == effect] == "better")
    return counts


def raced_or_fixed(numbers: Numbers, studies: int) -> Counts:
    """Raced studies against the same studies on all tasks."""
    same, spent, whole = [], 0, 0
    counts: dict[str, tuple[int, int]] = {}
    for name, truth in {"equal": (0.0,) * 6, "clear winner": (2.5,) * 5 + (0.0,)}.items():
        errors = planted(PlantedTruth(truth=truth), numbers, studies, 24, BLOCKS)
        raced = judged(errors, looks=LOOKS, textbook=(5,))
        fixed = judged(errors, looks=(24,), textbook=(5,), planned=len(LOOKS))
        same.append(raced.recommended == fixed.recommended)
        spent, whole = int(raced.level_tasks.sum()), int(fixed.level_tasks.sum())
        counts[f"{name}: runs saved"] = (whole - spent, whole)
        counts[f"{name}: same label"] = _count(raced.labels == fixed.labels)
    return {"same recommendation": _count(np.stack(same)), **counts}
