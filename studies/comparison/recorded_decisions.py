"""What has been decided of a comparison by its ledger alone: no task is built, nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from reports.evidence.budget import Margin
from reports.evidence.race_progress import RaceProgress
from studies.comparison.challenge import challenge_chains
from studies.comparison.external_check import PLAN, VERDICTS, FrozenRecipes, external_of
from studies.comparison.planned_work import (
    Decisions,
    Row,
    chain_size,
    expected_rows,
    inherited_members,
    planned_work,
)
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan, chains_of
from studies.comparison.record import protocol_of
from studies.execution.planned_work import ChainKey, PlannedWork
from studies.ledger.ledger import Ledger, StudyRow
from studies.ledger.lineage import SeenEvaluations


def recorded_work(ledger: Ledger, row: StudyRow) -> PlannedWork:
    """How much a comparison trains, as its scheduler counts it while it runs."""
    protocol, seen = protocol_of(row.protocol), SeenEvaluations(ledger, row.name)
    return planned_work(protocol, recorded_decisions(ledger, protocol, seen), seen=seen)


def recorded_decisions(ledger: Ledger, protocol: ComparisonProtocol, seen: SeenEvaluations) -> Decisions:
    """As far as the study has come.

    Args:
        ledger: that holds it.
        protocol: as it is recorded there.
        seen: what it has trained, and the studies that it extends.
    """
    counts, margins = ledger.chain_counts(protocol.name), ledger.margins(protocol.name)
    by_pair = {(m.task, m.regime): m for m in margins}
    begun = [(task, regime) for factor, task, regime in counts if not factor]
    decisions = Decisions(
        pilots=dict.fromkeys((*begun, *(by_pair or protocol.unpiloted({})))),
        margins=by_pair,
        unchecked=not protocol.study.external,
    )
    if ledger.plans(protocol.name):
        plan = Plan(protocol=protocol, margins=margins)
        races = _races(plan, seen)
        challenges = _challenges(plan, races, counts, seen)
        decisions = replace(decisions, plan=plan, races=races, challenges=challenges)
    return decisions if decisions.unchecked else _with_check(ledger, protocol, decisions, counts, seen)


def _races(plan: Plan, seen: SeenEvaluations) -> dict[Row, RaceProgress]:
    protocol = plan.protocol
    races = len(protocol.study.effective_budget.looks) > 1
    return {
        (factor, regime): protocol.course(
            factor, regime, tasks, plan.margins, seen.confirmed(factor, regime) if races else ()
        )
        for factor, regimes in plan.tasks.items()
        for regime, tasks in regimes.items()
    }


def _challenges(
    plan: Plan,
    races: dict[Row, RaceProgress],
    counts: Counter[ChainKey] | dict[ChainKey, int],
    seen: SeenEvaluations,
) -> dict[Row, Sequence[Chain]]:
    """Of the rows whose race has ended, with all of it confirmed."""
    return {
        row: challenge_chains(plan, *row, race, seen)
        for row, race in races.items()
        if race.ended and _complete(plan.protocol, chains_of(*row, race.called), counts, seen)
    }


def _with_check(
    ledger: Ledger,
    protocol: ComparisonProtocol,
    decisions: Decisions,
    counts: dict[ChainKey, int],
    seen: SeenEvaluations,
) -> Decisions:
    """With the external check, as far as it is known whether there is one."""
    frozen = ledger.frozen(protocol.name)
    if VERDICTS in frozen:
        recipes = FrozenRecipes.from_plain(frozen[VERDICTS][1])
        external = external_of(protocol, recipes, decisions.margins.values())
        own = [Margin(**margin) for margin in frozen[PLAN][1]["margins"]] if PLAN in frozen else []
        margins = {**decisions.margins, **{(m.task, m.regime): m for m in own}}
        return replace(decisions, external=external, margins=margins)
    rows = expected_rows(protocol, decisions)
    if decisions.plan is not None and _complete(protocol, rows, counts, seen):
        return replace(decisions, unchecked=True)  # there were no verdicts to freeze
    return decisions


def _complete(
    protocol: ComparisonProtocol, chains: Sequence[Chain], counts: dict[ChainKey, int], seen: SeenEvaluations
) -> bool:
    """Whether this study has trained all of them that it did not take over."""
    missing: Counter[ChainKey] = Counter()
    for chain in chains:  # a chain and its challenge have the same key
        missing[chain.place] += chain_size(protocol, chain) - inherited_members(protocol, chain, seen)[0]
    return all(counts.get(key, 0) >= size for key, size in missing.items())
