"""How many members and cells a study has, told from the ledger alone: no task is built, nothing is written.

An agenda counts the same while it runs; here the study may be anybody's, running anywhere or nowhere.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.evidence.budget import EXTERNAL, Margin
from studies.comparison.challenge import challenge_chains, expected_challenges
from studies.comparison.external_check import PLAN, VERDICTS, FrozenRecipes, chains, external_of, hoped_before
from studies.comparison.pilot import pilot_members
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan, chains_of, planned_members
from studies.comparison.record import protocol_of
from studies.ledger.ledger import Ledger, StudyRow
from studies.ledger.lineage import SeenEvaluations
from studies.range_scan.protocol import RangeScanProtocol, is_scope
from studies.search.protocol import REGIME

Place = tuple[str, str, str]
"""Factor, task, regime; factor '' is the pilot."""


@dataclass(frozen=True, kw_only=True)
class PlannedWork:
    """What a study comes to as far as is known: an estimate until its pilot and its races are over."""

    members: Mapping[Place, int]
    """Of every chain and pilot that may still come, or has."""
    cells: int
    """Searches that end in a confirmation; 0 where a study has none."""
    ends: int
    """Confirmation members of one cell, both arms."""
    taken: Mapping[Place, int] = field(default_factory=dict)
    """As many of the members as the studies that this one extends have trained,"""
    cells_taken: int = 0
    """as many of the cells,"""
    taken_diverged: int = 0
    """and how many of these members diverged."""

    @property
    def total(self) -> int:
        return sum(self.members.values())


def planned_work(ledger: Ledger, row: StudyRow) -> PlannedWork:
    """The outlook of a study of any kind."""
    if row.protocol["spec"].get("kind") == "search":
        task = str(row.protocol["facts"][0]["name"])
        return PlannedWork(members={("", task, REGIME): int(row.protocol["spec"]["trials"])}, cells=0, ends=0)
    fixed = protocol_of(row.protocol)
    if is_scope(row):
        scope = RangeScanProtocol(fixed=fixed)
        return PlannedWork(
            members={chain.place: scope.size(chain) for chain in scope.chains}, cells=0, ends=0
        )
    return _guideline(ledger, fixed)


def _guideline(ledger: Ledger, fixed: ComparisonProtocol) -> PlannedWork:
    study = fixed.name
    counts, seen = ledger.chain_counts(study), SeenEvaluations(ledger, study)
    margins = {(m.task, m.regime): m for m in ledger.margins(study)}
    rows = _rows(ledger, fixed, counts, seen) if ledger.plans(study) else _hoped_rows(fixed)
    beyond = _external(ledger, fixed, margins, counts, rows, seen)
    begun = {(task, regime) for factor, task, regime in counts if not factor}
    pairs = {
        *(begun or ()),
        *(margins or fixed.unpiloted({})),
        *((chain.task, chain.regime) for chain in beyond),
    }
    members: Counter[Place] = Counter()
    for task, regime in pairs:
        setting, untaken = fixed.study.settings(regime), fixed.unhonoured[task]
        members["", task, regime] = len(pilot_members(study, task, regime, setting, untaken))
    cells = 0
    for chain in (*rows, *beyond):
        members[chain.place] += _size(fixed, chain)
        cells += _cells(fixed, chain)
    taken = [(("", *pair), seen.taken_over(("", *pair))) for pair in pairs]
    taken += [(chain.place, _taken(fixed, chain, seen)) for chain in rows]
    by_place: Counter[Place] = Counter()
    for place, (count, _) in taken:
        by_place[place] += count
    each = fixed.study.effective_budget.runs_per_cell
    return PlannedWork(
        members=dict(members),
        cells=cells,
        ends=2 * fixed.study.effective_budget.confirm_seeds,
        taken=dict(by_place),
        cells_taken=sum(count // each for (factor, *_), (count, _) in taken if factor),
        taken_diverged=sum(diverged for _, (_, diverged) in taken),
    )


def _taken(fixed: ComparisonProtocol, chain: Chain, seen: SeenEvaluations) -> tuple[int, int]:
    """Members of a chain that the studies before this one trained, and how many of them diverged."""
    return seen.taken_over(chain.place, itertools.product(fixed.blocks(chain), fixed.trained(chain)))


def _hoped_rows(fixed: ComparisonProtocol) -> list[Chain]:
    """Before the plan is frozen: every task that a row begins with is hoped to stay."""
    return [
        Chain(factor=question.factor, task=task, regime=regime)
        for question in fixed.study.asked
        for regime in question.regimes
        for task in fixed.hoped(question.factor, regime, {})
    ]


def _rows(
    ledger: Ledger, fixed: ComparisonProtocol, counts: Mapping[Place, int], seen: SeenEvaluations
) -> list[Chain]:
    """What the races of the rows have called for and may still call for, and what challenges their claims."""
    study, races = fixed.name, len(fixed.study.effective_budget.looks) > 1
    plan = Plan(protocol=fixed, margins=ledger.margins(study))
    found: list[Chain] = []
    for factor, regimes in plan.tasks.items():
        for regime, tasks in regimes.items():
            confirmed = seen.confirmed(factor, regime) if races else ()
            course = fixed.course(factor, regime, tasks, plan.margins, confirmed)
            called = chains_of(factor, regime, course.called)
            whole = all(
                counts.get(chain.place, 0) + _taken(fixed, chain, seen)[0] >= _size(fixed, chain)
                for chain in called
            )
            found += chains_of(factor, regime, course.possible)
            if course.ended and whole:
                found += challenge_chains(plan, factor, regime, course, seen)
            else:
                found += expected_challenges(fixed, factor, regime, tuple(course.possible))
    return found


def _external(
    ledger: Ledger,
    fixed: ComparisonProtocol,
    margins: Mapping[tuple[str, str], Margin],
    counts: Mapping[Place, int],
    rows: list[Chain],
    seen: SeenEvaluations,
) -> list[Chain]:
    """The external check, as far as it is known whether there is one."""
    if not fixed.study.external:
        return []
    parts = ledger.frozen(fixed.name)
    if PLAN in parts:
        return chains(parts[PLAN][1]["tasks"])
    if VERDICTS in parts:
        there = external_of(fixed, FrozenRecipes.from_plain(parts[VERDICTS][1]), margins.values())
        return chains({regime: there.hoped(regime, margins) for regime in there.frozen.recipes})
    wanted: Counter[Place] = Counter()
    for chain in rows:
        wanted[chain.place] += _size(fixed, chain) - _taken(fixed, chain, seen)[0]
    if margins and all(counts.get(place, 0) >= size for place, size in wanted.items()):
        return []  # the rows are complete, and there were no verdicts to freeze
    return hoped_before(fixed, margins)


def _size(fixed: ComparisonProtocol, chain: Chain) -> int:
    return sum(planned_members(fixed.study, [chain], 0).values())


def _cells(fixed: ComparisonProtocol, chain: Chain) -> int:
    if chain.factor == EXTERNAL:
        size = planned_members(fixed.study, [chain], 0)["external"]
        return size // (2 * fixed.study.effective_budget.confirm_seeds)
    return len(fixed.trained(chain)) * len(fixed.blocks(chain))
