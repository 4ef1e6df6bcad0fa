"""How many members a guideline study trains, and at what cost: its progress and time left come from here."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reports.evidence.budget import EXTERNAL, Margin
from reports.evidence.race_progress import RaceProgress
from search_spaces.space import complete
from studies.comparison.challenge import expected_challenges
from studies.comparison.external_check import ExternalCheck, chains, hoped_before
from studies.comparison.pilot import RECIPES, SEEDS
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan, chains_of, planned_members
from studies.ledger.lineage import SeenEvaluations
from trainers.loop.structure import estimated_flops
from trainers.tasks.task import TaskBook

PILOT_WEIGHT = 4.0
"""How many times as long a pilot member takes as another of its size: a pilot's packs hold only 5, who share
the fixed cost of a step (measured on one core at width 32: 4 times with 20 hidden layers, 7 times with 2)."""


@dataclass(frozen=True, kw_only=True)
class PlannedWork:
    """Members and work of the whole study; an estimate until its races and checks have ended."""

    members: dict[str, int]
    """Phase -> planned members."""
    work: float
    """Floating-point operations behind them."""
    there: int
    """Those of them that the studies before this one have trained,"""
    there_diverged: int
    """as many of these as diverged,"""
    there_work: float
    """and the work behind these."""


@dataclass(frozen=True, kw_only=True)
class ExpectedWork:
    """Sizes and costs of the chains of one study, before they are trained."""

    protocol: ComparisonProtocol
    book: TaskBook
    seen: SeenEvaluations
    """What the studies that this one extends have trained."""
    _flops: dict[tuple[str, str, str], float] = field(default_factory=dict, init=False)
    """(factor, task, regime) -> floating-point operations of one member, as far as they were estimated."""

    def of_study(self, expected: Sequence[Chain], pilots: Mapping[tuple[str, str], int]) -> PlannedWork:
        """The whole study.

        Args:
            expected: every chain that may still come, and those that are complete.
            pilots: (task, regime) -> pilot members, of every pilot that was opened.
        """
        own = len(RECIPES) * SEEDS
        counts = {(c.task, c.regime): own for c in expected if c.factor == EXTERNAL} | dict(pilots)
        before = [(("", *pair), self.seen.taken_over(("", *pair))) for pair in counts]
        before += [(chain.place, self.taken_over(chain)) for chain in expected]
        piloted = sum(count * self.of_member("", *pair) for pair, count in counts.items())
        return PlannedWork(
            members=planned_members(self.protocol.study, expected, sum(counts.values())),
            work=piloted + sum(self.of_chain(chain) for chain in expected),
            there=sum(count for _, (count, _) in before),
            there_diverged=sum(diverged for _, (_, diverged) in before),
            there_work=sum(n * self.of_member(*place) for place, (n, _) in before if n),
        )

    def taken_over(self, chain: Chain) -> tuple[int, int]:
        """How many members of a chain the studies before this one trained, and how many diverged."""
        if chain.factor == EXTERNAL or not self.seen.before:
            return 0, 0
        blocks, levels = self.protocol.blocks(chain), self.protocol.trained(chain)
        return self.seen.taken_over(chain.place, itertools.product(blocks, levels))

    def members(self, chain: Chain) -> int:
        """Members of a whole chain."""
        return sum(planned_members(self.protocol.study, [chain], 0).values())

    def missing(self, chain: Chain) -> int:
        """Members of a chain that this study itself has to train."""
        return self.members(chain) - self.taken_over(chain)[0]

    def of_chain(self, chain: Chain) -> float:
        """Floating-point operations of a whole chain."""
        return self.members(chain) * self.of_member(chain.factor, chain.task, chain.regime)

    def of_member(self, factor: str, task: str, regime: str) -> float:
        """Floating-point operations of one member there: the mean over levels that change the setting."""
        where = (factor, task, regime)
        if where not in self._flops:
            settings = self.protocol.settings("" if factor == EXTERNAL else factor, regime)
            flops = [
                estimated_flops(complete({}, setting=s), self.book[task]()) for s in dict.fromkeys(settings)
            ]
            self._flops[where] = statistics.fmean(flops)
        return self._flops[where] * (1.0 if factor else PILOT_WEIGHT)


def expected_rows(
    protocol: ComparisonProtocol,
    *,
    plan: Plan | None,
    margins: Mapping[tuple[str, str], Margin],
    courses: Mapping[tuple[str, str], RaceProgress],
    challenges: Mapping[tuple[str, str], Iterable[Chain]],
) -> list[Chain]:
    """The chains of the questions that may still come, with those that are complete.

    Args:
        protocol: of the study.
        plan: None before it is frozen: then every chain that no rejected task has removed.
        margins: (task, regime) -> the margin, where its pilot is complete.
        courses: (factor, regime) -> how far its race has come, once there is a plan.
        challenges: (factor, regime) -> the chains of its challenge, where they are settled.
    """
    if plan is None:
        return [
            Chain(factor=question.factor, task=task, regime=regime)
            for question in protocol.study.asked
            for regime in question.regimes
            for task in protocol.hoped(question.factor, regime, margins)
        ]
    return [
        chain
        for (factor, regime), course in courses.items()
        for chain in (
            *chains_of(factor, regime, course.possible),
            *challenges.get(
                (factor, regime), expected_challenges(protocol, factor, regime, tuple(course.possible))
            ),
        )
    ]


def expected_checks(
    protocol: ComparisonProtocol,
    *,
    plan: Plan | None,
    margins: Mapping[tuple[str, str], Margin],
    external: ExternalCheck | None,
) -> list[Chain]:
    """The chains of the external check that may still come, with those that are complete.

    Args:
        protocol: of the study.
        plan: None before it is frozen.
        margins: (task, regime) -> the margin, where its pilot is complete.
        external: None before the verdicts are frozen.
    """
    if external is not None:
        return chains({regime: external.hoped(regime, margins) for regime in external.frozen.recipes})
    return hoped_before(protocol, {(m.task, m.regime): m for m in plan.margins} if plan else margins)
