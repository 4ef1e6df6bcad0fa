"""V1 to V16 of method.md 2.14 A: what is planted, what is counted, and what must hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from studies.simulation import counts, full_studies
from studies.simulation.counts import Counts
from studies.simulation.planted_truth import Numbers

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


ROWS: tuple[Scenario, ...] = (
    Scenario(
        name="V1",
        plant="6 equal levels, tau 0.25, raced over 8, 16, 24 tasks",
        checks=(
            at_most(counts.FALSE, 0.05),
            at_least("the cheapest of the tied is named", 0.80),
            shown("a level dropped"),
        ),
        simulate=counts.equal_levels,
    ),
    Scenario(
        name="V2",
        plant="A/A and placebo: one level twice, 8 tasks",
        checks=(at_most(counts.FALSE, 0.05), at_least("tied", 0.80), at_most("study stamped INVALID", 0.01)),
        simulate=counts.placebo,
    ),
    Scenario(
        name="V3",
        plant="the costliest of 6 is best, the rest exactly 1 margin worse",
        checks=(at_most(f"{counts.WRONG}, 12 tasks", 0.05), at_most(f"{counts.WRONG}, raced", 0.05)),
        simulate=counts.least_favourable,
    ),
    Scenario(
        name="V4",
        plant="a pair exactly 1 margin apart",
        checks=(at_most("'tied', 8 tasks", 0.05), at_most("'tied', 24 tasks", 0.05)),
        simulate=counts.at_the_margin,
    ),
    Scenario(
        name="V5",
        plant="a pair 2 margins apart, 8 tasks",
        checks=(at_least("row confirmed", 0.90), at_least("claim confirmed", 0.90)),
        simulate=counts.two_margins_apart,
    ),
    Scenario(
        name="V6",
        plant="2 equal levels whose best learning rates lie a decade apart, 12 tasks",
        checks=(at_most(counts.FALSE, 0.05), at_least("tied", 0.80), shown("false at one shared rate")),
        simulate=counts.shifted_optima,
    ),
    Scenario(
        name="V7",
        plant="2 equal levels, the second with 3 times the seed SD, 12 tasks",
        checks=(
            at_most("false win of the noisy level", 0.05),
            shown("called worse (harder to tune)"),
            shown("false win by best search score"),
        ),
        simulate=counts.noisy_level,
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
                at_most(f"{counts.WRONG}, {tasks} tasks", 0.05),
                at_most(f"equal levels: 'contradicted', {tasks} tasks", 0.05),
                shown(f"equal levels: a pair called unequal, {tasks} tasks"),
                shown(f"equal levels: insufficient, {tasks} tasks"),
            )
        ),
        simulate=counts.heterogeneous,
        times=5,
    ),
    Scenario(
        name="V11",
        plant="5 % divergences, noise with t3 tails, 24 tasks; V3's levels",
        checks=(
            at_most(f"{counts.WRONG}, 24 tasks", 0.05),
            at_most(f"{counts.WRONG}, raced", 0.05),
            shown("equal levels: the cheapest is named"),
        ),
        simulate=counts.harsh_noise,
    ),
    Scenario(
        name="V11c",
        plant="the same noise, a pair",
        checks=tuple(
            check
            for name in ("95 % interval covers, equal levels", "95 % interval covers, one margin apart")
            for check in (at_least(name, 0.93), at_most(name, 0.97))
        ),
        simulate=counts.coverage,
        times=5,
    ),
    Scenario(
        name="V12",
        plant="an effect that changes its sign at depth 12, measured at 2, 4, 8, 16, 30 on 12 tasks",
        checks=(at_least("interval covers depth 12", 0.90), shown("ends within a factor of 2")),
        simulate=counts.crossing_effect,
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
        simulate=counts.always_claims,
    ),
    Scenario(
        name="V14",
        plant="ledgers of 100 claims, 70 of them null, 12 tasks",
        checks=(
            at_most("false among verdicts given", 0.05),
            shown("of 70 null claims: called tied"),
            *(shown(f"effect {effect:g}: 'better'") for effect in (0.5, 1.0, 2.0, 3.0)),
        ),
        simulate=counts.claim_ledger,
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
        simulate=counts.raced_or_fixed,
    ),
)
