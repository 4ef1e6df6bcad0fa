"""What the challenge stage trains: the worst tasks of an 'always' claim again, on blocks nobody has used.

It is planned when all of a row is confirmed and has not contradicted the claim; which tasks, the confirm rows
in the ledger say (`reports.claims.challenge`), so that a resume asks for the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.claims.challenge import challenged, extra_cells
from reports.evidence.claim import Claim
from reports.evidence.race_progress import RaceProgress
from reports.statistics.compare import FEW_FAMILIES
from reports.statistics.reversals import FRESH_BLOCKS, WORST
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan

if TYPE_CHECKING:
    from studies.ledger.lineage import SeenEvaluations


def challenge_chains(
    plan: Plan, factor: str, regime: str, course: RaceProgress, seen: SeenEvaluations
) -> tuple[Chain, ...]:
    """What challenges the claims of one row; () where none is challenged.

    Args:
        plan: of the study.
        factor: the row's question,
        regime: and regime.
        course: of its race, which has ended.
        seen: with all of its confirm members.
    """
    fixed = plan.protocol
    claims = _always(fixed, factor, regime)
    if not claims:
        return ()
    question = fixed.question(factor)
    confirmed = seen.confirmed(factor, regime)
    challenges = [
        (
            claim,
            challenged(
                claim,
                question,
                families={task: fixed.facts[task].family for task in course.called},
                margins={m.task: m for m in plan.margins if m.regime == regime},
                budget=fixed.study.effective_budget,
                confirmed=confirmed,
            ),
        )
        for claim in claims
    ]
    return _chains(factor, regime, extra_cells(challenges, question))


def expected_challenges(
    fixed: ComparisonProtocol, factor: str, regime: str, tasks: Sequence[str]
) -> tuple[Chain, ...]:
    """The most that may come, for estimates: the first tasks stand for the worst.

    Args:
        fixed: of the study.
        factor: the row's question,
        regime: and regime.
        tasks: on which it is judged.
    """
    claims = _always(fixed, factor, regime)
    if not claims or len({fixed.facts[task].family for task in tasks}) < FEW_FAMILIES:
        return ()
    challenges = [(claim, tasks[:WORST]) for claim in claims]
    return _chains(factor, regime, extra_cells(challenges, fixed.question(factor)))


def challenge_notes(challenges: Mapping[tuple[str, str], Sequence[Chain]]) -> list[str]:
    """What a user should know of the rows that were challenged."""
    return [
        f"{factor} in {regime}: what is said of always is challenged on {', '.join(c.task for c in chains)}, "
        f"{FRESH_BLOCKS} fresh blocks each"
        for (factor, regime), chains in challenges.items()
        if chains
    ]


def _always(fixed: ComparisonProtocol, factor: str, regime: str) -> list[Claim]:
    return [
        claim
        for claim in fixed.study.claimed
        if (claim.type, claim.factor, claim.regimes) == ("always", factor, (regime,))
    ]


def _chains(factor: str, regime: str, cells: Mapping[str, tuple[str, ...]]) -> tuple[Chain, ...]:
    return tuple(
        Chain(factor=factor, task=task, regime=regime, levels=levels, fresh=FRESH_BLOCKS)
        for task, levels in cells.items()
    )
