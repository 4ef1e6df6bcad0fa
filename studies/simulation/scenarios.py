"""V1 to V16 of method.md 2.14 A: what is planted, what is counted, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reports.evidence import control_arms
from reports.statistics import claim_rules, compare
from reports.statistics.compare import Array
from reports.verdicts import regime_interaction
from studies.simulation import full_studies
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

Accept = Literal["at most", "at least", "always", "shown"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One measured share of a row, and what must hold of it."""

    name: str
    accept: Accept
    """'shown' is printed and not judged."""
    bound: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the validation table."""

    name: str
    plant: str
    """What is true in the simulated studies, in a sentence."""
    checks: tuple[Check, ...]
    simulate: Callable[[Numbers, int], Counts]
    """(generator, studies) -> counts; studies are independent, so that counts of parts add up."""
    most: int | None = None
    """Most studies that are worth simulating; None: as many as asked."""
    times: int = 1
    """Studies per study asked, for shares that must be known more closely."""


def at_most(name: str, bound: float) -> Check:
    """The share's upper 97.5 % bound must not exceed `bound`."""
    return Check(name=name, accept="at most", bound=bound)


def at_least(name: str, bound: float) -> Check:
    """The share's lower 97.5 % bound must reach `bound`."""
    return Check(name=name, accept="at least", bound=bound)


def always_true(name: str) -> Check:
    """Every single time: what a guard must do, whatever the number of studies."""
    return Check(name=name, accept="always", bound=1.0)


def shown(name: str) -> Check:
    """Printed for the reader; nothing is demanded."""
    return Check(name=name, accept="shown")


def _count(hits: np.ndarray) -> tuple[int, int]:
    return int(hits.sum()), int(hits.size)


FALSE = "false 'better' or 'worse'"
WRONG = "a level a margin worse recommended"
INSUFFICIENT = "no level proved"


def _equal(numbers: Numbers, studies: int) -> Counts:
    found = judged(
        planted(PlantedTruth(truth=(0.0,) * 6), numbers, studies, 24, BLOCKS), looks=LOOKS, textbook=(1, 2)
    )
    return {
        FALSE: _count(found.claimed),
        "a level dropped": _count(found.recommended > 0),
        "the cheapest of the tied is named": _count(found.recommended == 0),
    }


def _placebo(numbers: Numbers, studies: int) -> Counts:
    errors = planted(PlantedTruth(truth=(0.0, 0.0), tau=0.0), numbers, studies, 8, BLOCKS)
    state = claim_rules.states(pair(errors))
    control = control_arms.control_states(errors, np.ones(8), np.arange(8), alpha=ALPHA, count=3)
    return {
        FALSE: _count(np.isin(state, ("better", "worse"))),
        "tied": _count(state == "tied"),
        "study stamped INVALID": _count(control_arms.fails("a_a", control)),
    }


def _least_favourable(numbers: Numbers, studies: int) -> Counts:
    plant = PlantedTruth(truth=())
    fixed = judged(leading(plant, numbers, studies, 12, regret=1.0, levels=6), looks=(12,), textbook=(5,))
    raced = judged(leading(plant, numbers, studies, 24, regret=1.0, levels=6), looks=LOOKS, textbook=(5,))
    return {
        f"{WRONG}, 12 tasks": _count((fixed.recommended >= 0) & (fixed.recommended < 5)),
        f"{WRONG}, raced": _count((raced.recommended >= 0) & (raced.recommended < 5)),
    }


def _at_the_margin(numbers: Numbers, studies: int) -> Counts:
    counts: dict[str, tuple[int, int]] = {}
    for tasks in (8, 24):
        errors = leading(PlantedTruth(truth=()), numbers, studies, tasks, regret=1.0, levels=2)
        counts[f"'tied', {tasks} tasks"] = _count(claim_rules.states(pair(errors)) == "tied")
    return counts


def _two_margins(numbers: Numbers, studies: int) -> Counts:
    errors = leading(PlantedTruth(truth=()), numbers, studies, 8, regret=2.0, levels=2)
    found = judged(errors, looks=(8,), textbook=(1,))
    claim = claim_rules.better_claim(pair(errors))
    return {
        "row confirmed": _count(found.labels == "confirmed"),
        "claim confirmed": _count(claim == "confirmed"),
    }


SHIFTED = RateBowl(truth=(0.0, 0.0), optimum=(-0.5, 0.5), seed_sd=(1.0, 1.0))


def _shifted(numbers: Numbers, studies: int) -> Counts:
    tuned = claim_rules.states(pair(searched(SHIFTED, numbers, studies, 12, BLOCKS)))
    bowl = replace(SHIFTED, optimum=(0.0, 1.0))
    shared = claim_rules.states(pair(at_one_rate(bowl, numbers, studies, 12, BLOCKS)))
    return {
        FALSE: _count(np.isin(tuned, ("better", "worse"))),
        "tied": _count(tuned == "tied"),
        "false at one shared rate": _count(np.isin(shared, ("better", "worse"))),
    }


NOISY = RateBowl(truth=(0.0, 0.0), optimum=(0.0, 0.0), seed_sd=(0.7, 2.1))


def _noisy(numbers: Numbers, studies: int) -> Counts:
    tuned = claim_rules.states(pair(searched(NOISY, numbers, studies, 12, BLOCKS)))
    naive = claim_rules.states(pair(best_score(NOISY, numbers, studies, 12, BLOCKS)))
    return {
        "false win of the noisy level": _count(tuned == "better"),
        "called worse (harder to tune)": _count(tuned == "worse"),
        "false win by best search score": _count(naive == "better"),
    }


def _heterogeneous(numbers: Numbers, studies: int) -> Counts:
    plant = PlantedTruth(truth=(), tau=1.0)
    counts: dict[str, tuple[int, int]] = {}
    for tasks in (12, 24):
        equal = planted(replace(plant, truth=(0.0,) * 6), numbers, studies, tasks, BLOCKS)
        found = judged(equal, looks=(tasks,), textbook=(1,))
        worse = judged(
            leading(plant, numbers, studies, tasks, regret=1.0, levels=6), looks=(tasks,), textbook=(5,)
        )
        counts |= {
            f"{WRONG}, {tasks} tasks": _count((worse.recommended >= 0) & (worse.recommended < 5)),
            f"equal levels: 'contradicted', {tasks} tasks": _count(found.labels == "contradicted"),
            f"equal levels: a pair called unequal, {tasks} tasks": _count(found.claimed),
            f"equal levels: insufficient, {tasks} tasks": _count(found.recommended < 0),
        }
    return counts


HARSH = PlantedTruth(truth=(), heavy=True, diverged=0.05)


def _harsh(numbers: Numbers, studies: int) -> Counts:
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


def _coverage(numbers: Numbers, studies: int) -> Counts:
    equal = planted(replace(HARSH, truth=(0.0, 0.0)), numbers, studies, 24, BLOCKS)
    margin = leading(HARSH, numbers, studies, 24, regret=1.0, levels=2)
    return {
        "95 % interval covers, equal levels": _count(covered(equal, 0.0)),
        "95 % interval covers, one margin apart": _count(covered(margin, 1.0)),
    }


DEPTHS = (2, 4, 8, 16, 30)
CROSSING = 12.0


def _crossing(numbers: Numbers, studies: int) -> Counts:
    effect = np.clip(2.0 * np.log2(np.asarray(DEPTHS) / CROSSING), -3.0, 3.0)
    units = []
    for u in effect:
        errors = planted(PlantedTruth(truth=(float(u), 0.0), tau=0.5), numbers, studies, 12, BLOCKS)
        units.append(compare.block_effects(errors, np.ones(12))[..., 0, 1].mean(axis=-1))
    found = regime_interaction.crossover(np.stack(units, axis=-1), DEPTHS)
    width = found.high / found.low
    return {
        "interval covers depth 12": _count((found.low <= CROSSING) & (found.high >= CROSSING)),
        "ends within a factor of 2": _count(width <= 2.0),
    }


def _always(numbers: Numbers, studies: int) -> Counts:
    counts: dict[str, tuple[int, int]] = {}
    for reversed_by, name in ((3.0, "one task reversed"), (None, "none reversed")):
        lead = np.full(16, 2.0)
        if reversed_by is not None:
            lead[0] = -reversed_by
        own = 0.25 * numbers.standard_normal((studies, 16, 1)) * (lead > 0)[:, None]
        errors, fresh = (_led(lead[:, None] + own, numbers, blocks) for blocks in (BLOCKS, 16))
        found = always(errors, fresh)
        counts |= {
            f"{name}: contradicted": _count(found == "contradicted"),
            f"{name}: confirmed": _count(found == "confirmed"),
        }
    return counts


def _led(lead: Array, numbers: Numbers, blocks: int) -> Array:
    """[S, T, blocks, 2] errors where the second level leads by [S, T, 1] margins."""
    noise = numbers.standard_normal((*lead.shape[:2], blocks, 2))
    noise[..., 0] += lead
    return noise


CLAIMED = (0.0,) * 70 + (0.5,) * 6 + (1.0,) * 8 + (2.0,) * 8 + (3.0,) * 8
"""True effects of a ledger's 100 claims, in margins."""


def _ledger(numbers: Numbers, studies: int) -> Counts:
    truth = np.asarray(CLAIMED)
    tasks = 12
    own = 0.25 * numbers.standard_normal((studies, len(truth), tasks, 1))
    noise = numbers.standard_normal((studies, len(truth), tasks, BLOCKS, 2))
    noise[..., 0] += truth[:, None, None] + own
    found = ledger(noise)
    given = found != "unresolved"
    # 'Tied' is false from one margin on, 'worse' always, 'better' where there is no effect.
    wrong = (found == "worse") | ((found == "better") & (truth <= 0)) | ((found == "tied") & (truth >= 1))
    counts = {
        "false among verdicts given": (int(wrong.sum()), int(given.sum())),
        "of 70 null claims: called tied": _count(found[:, truth == 0] == "tied"),
    }
    for effect in (0.5, 1.0, 2.0, 3.0):
        counts[f"effect {effect:g}: 'better'"] = _count(found[:, truth == effect] == "better")
    return counts


def _raced_or_fixed(numbers: Numbers, studies: int) -> Counts:
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


ROWS: tuple[Scenario, ...] = (
    Scenario(
        name="V1",
        plant="6 equal levels, tau 0.25, raced over 8, 16, 24 tasks",
        checks=(
            at_most(FALSE, 0.05),
            at_least("the cheapest of the tied is named", 0.80),
            shown("a level dropped"),
        ),
        simulate=_equal,
    ),
    Scenario(
        name="V2",
        plant="A/A and placebo: one level twice, 8 tasks",
        checks=(at_most(FALSE, 0.05), at_least("tied", 0.80), at_most("study stamped INVALID", 0.01)),
        simulate=_placebo,
    ),
    Scenario(
        name="V3",
        plant="the costliest of 6 is best, the rest exactly 1 margin worse",
        checks=(at_most(f"{WRONG}, 12 tasks", 0.05), at_most(f"{WRONG}, raced", 0.05)),
        simulate=_least_favourable,
    ),
    Scenario(
        name="V4",
        plant="a pair exactly 1 margin apart",
        checks=(at_most("'tied', 8 tasks", 0.05), at_most("'tied', 24 tasks", 0.05)),
        simulate=_at_the_margin,
    ),
    Scenario(
        name="V5",
        plant="a pair 2 margins apart, 8 tasks",
        checks=(at_least("row confirmed", 0.90), at_least("claim confirmed", 0.90)),
        simulate=_two_margins,
    ),
    Scenario(
        name="V6",
        plant="2 equal levels whose best learning rates lie a decade apart, 12 tasks",
        checks=(at_most(FALSE, 0.05), at_least("tied", 0.80), shown("false at one shared rate")),
        simulate=_shifted,
    ),
    Scenario(
        name="V7",
        plant="2 equal levels, the second with 3 times the seed SD, 12 tasks",
        checks=(
            at_most("false win of the noisy level", 0.05),
            shown("called worse (harder to tune)"),
            shown("false win by best search score"),
        ),
        simulate=_noisy,
    ),
    Scenario(
        name="V8",
        plant="whole studies, one level with one trial more or fewer",
        checks=(always_true("sound study judged"), always_true("unequal trials refused")),
        simulate=full_studies.unequal_trials,
        most=20,
    ),
    Scenario(
        name="V9",
        plant="whole studies sampled by TPE",
        checks=(
            always_true("TPE study refused"),
            always_true("TPE rows called a design refused"),
        ),
        simulate=full_studies.adaptive_rows,
        most=20,
    ),
    Scenario(
        name="V10",
        plant="6 levels, tau 1 margin",
        checks=tuple(
            check
            for tasks in (12, 24)
            for check in (
                at_most(f"{WRONG}, {tasks} tasks", 0.05),
                at_most(f"equal levels: 'contradicted', {tasks} tasks", 0.05),
                shown(f"equal levels: a pair called unequal, {tasks} tasks"),
                shown(f"equal levels: insufficient, {tasks} tasks"),
            )
        ),
        simulate=_heterogeneous,
        times=5,
    ),
    Scenario(
        name="V11",
        plant="5 % divergences, noise with t3 tails, 24 tasks; V3's levels",
        checks=(
            at_most(f"{WRONG}, 24 tasks", 0.05),
            at_most(f"{WRONG}, raced", 0.05),
            shown("equal levels: the cheapest is named"),
        ),
        simulate=_harsh,
    ),
    Scenario(
        name="V11c",
        plant="the same noise, a pair",
        checks=tuple(
            check
            for name in ("95 % interval covers, equal levels", "95 % interval covers, one margin apart")
            for check in (at_least(name, 0.93), at_most(name, 0.97))
        ),
        simulate=_coverage,
        times=5,
    ),
    Scenario(
        name="V12",
        plant="an effect that changes its sign at depth 12, measured at 2, 4, 8, 16, 30 on 12 tasks",
        checks=(at_least("interval covers depth 12", 0.90), shown("ends within a factor of 2")),
        simulate=_crossing,
    ),
    Scenario(
        name="V13",
        plant="'always', 16 tasks, a lead of 2 margins; one task reversed by 3",
        checks=(
            at_least("one task reversed: contradicted", 0.80),
            at_most("one task reversed: confirmed", 0.05),
            at_most("none reversed: contradicted", 0.05),
            shown("none reversed: confirmed"),
        ),
        simulate=_always,
    ),
    Scenario(
        name="V14",
        plant="ledgers of 100 claims, 70 of them null, 12 tasks",
        checks=(
            at_most("false among verdicts given", 0.05),
            shown("of 70 null claims: called tied"),
            *(shown(f"effect {effect:g}: 'better'") for effect in (0.5, 1.0, 2.0, 3.0)),
        ),
        simulate=_ledger,
    ),
    Scenario(
        name="V15",
        plant="whole studies with a leak, a reused seed, a peek or search rows",
        checks=tuple(
            always_true(f"{name}: refused")
            for name in (*(one.name for one in full_studies.TRESPASSES), "search rows as evidence")
        ),
        simulate=full_studies.trespasses,
        most=20,
    ),
    Scenario(
        name="V16",
        plant="raced (8, 16, 24) against all 24 tasks at the same bounds",
        checks=(
            at_least("same recommendation", 0.98),
            *(
                shown(f"{name}: {what}")
                for name in ("equal", "clear winner")
                for what in ("runs saved", "same label")
            ),
        ),
        simulate=_raced_or_fixed,
    ),
)
