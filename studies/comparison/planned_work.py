"""How many members a comparison trains, and at what cost, as far as it has been decided."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from reports.evidence.budget import ARMS, EXTERNAL, Margin
from reports.evidence.race_progress import RaceProgress
from search_spaces.config import Setting
from search_spaces.space import complete
from studies.comparison.challenge import expected_challenges
from studies.comparison.external_check import ExternalCheck, chains, hoped_before
from studies.comparison.pilot import pilot_members
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan, chains_of
from studies.execution.planned_work import ChainKey, PlannedPart, PlannedWork
from studies.ledger.lineage import SeenEvaluations
from trainers.loop.structure import estimated_flops
from trainers.tasks.task import TaskBook

PILOT_WEIGHT = 4.0
"""How many times as long a pilot member takes as another of its size: a pilot's packs hold only 5, who share
the fixed cost of a step (measured on one core at width 32: 4 times with 20 hidden layers, 7 times with 2)."""

PHASES = ("pilot", "retune", "promote", "confirm")
"""Of every comparison; 'external' where there is such a check."""

Row = tuple[str, str]
"""Factor and regime."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What has been decided of a comparison; whatever is open is counted as the most that may come."""

    pilots: Collection[tuple[str, str]]
    """(task, regime) of every pilot that was opened."""
    margins: Mapping[tuple[str, str], Margin] = field(default_factory=dict)
    """(task, regime) -> the margin, where its pilot is complete."""
    plan: Plan | None = None
    """None before it is frozen."""
    races: Mapping[Row, RaceProgress] = field(default_factory=dict)
    """Row -> how far its race has come, once there is a plan."""
    challenges: Mapping[Row, Sequence[Chain]] = field(default_factory=dict)
    """Row -> the chains of its challenge, where they are settled."""
    external: ExternalCheck | None = None
    """None before the verdicts are frozen."""
    unchecked: bool = False
    """There will be no external check."""


@dataclass(frozen=True, kw_only=True)
class MemberFlops:
    """Floating-point operations of one member: the mean over levels that change the setting."""

    protocol: ComparisonProtocol
    book: TaskBook
    pilot_weight: float = PILOT_WEIGHT
    _known: dict[ChainKey, float] = field(default_factory=dict, init=False)

    def __call__(self, key: ChainKey) -> float:
        """Of a member with this factor, task and regime."""
        if key not in self._known:
            factor, task, regime = key
            settings = self.protocol.settings("" if factor == EXTERNAL else factor, regime)
            flops = statistics.fmean(
                estimated_flops(complete({}, setting=s), self.book[task]()) for s in dict.fromkeys(settings)
            )
            self._known[key] = flops * (1.0 if factor else self.pilot_weight)
        return self._known[key]


def planned_work(
    protocol: ComparisonProtocol,
    decisions: Decisions,
    *,
    seen: SeenEvaluations | None = None,
    member_work: Callable[[ChainKey], float] = lambda _: 1.0,
) -> PlannedWork:
    """Every chain and pilot that may still come, and those that are complete.

    Args:
        protocol: of the study.
        decisions: as far as it has come.
        seen: what the studies that it extends have trained; None: it extends none.
        member_work: of one member, in the unit of the time left.
    """
    rows, checks = expected_rows(protocol, decisions), expected_checks(protocol, decisions)
    pilots = dict.fromkeys((*((chain.task, chain.regime) for chain in checks), *decisions.pilots))
    budget = protocol.study.effective_budget
    parts = []
    for task, regime in pilots:
        key = ("", task, regime)
        inherited, diverged = seen.taken_over(key) if seen else (0, 0)
        size = pilot_size(protocol.study.settings(regime), protocol.unhonoured[task])
        parts.append(
            PlannedPart(
                key=key,
                members={"pilot": size},
                member_work=member_work(key),
                inherited=inherited,
                inherited_diverged=diverged,
            )
        )
    for chain in (*rows, *checks):
        inherited, diverged = inherited_members(protocol, chain, seen)
        parts.append(
            PlannedPart(
                key=chain.place,
                members=chain_members(protocol, chain),
                cells=chain_cells(protocol, chain),
                member_work=member_work(chain.place),
                inherited=inherited,
                inherited_diverged=diverged,
                inherited_cells=inherited // budget.runs_per_cell,
            )
        )
    return PlannedWork(parts=tuple(parts), phases=PHASES, confirmations=2 * budget.confirm_seeds)


def planned_members(protocol: ComparisonProtocol, chains: Iterable[Chain], pilots: int) -> dict[str, int]:
    """Phase -> members of that many pilot members and these chains; external only where there is some."""
    counts = Counter({**dict.fromkeys(PHASES, 0), "pilot": pilots})
    for chain in chains:
        counts.update(chain_members(protocol, chain))
    return dict(counts)


def chain_members(protocol: ComparisonProtocol, chain: Chain) -> dict[str, int]:
    """Phase -> members of a whole chain."""
    cells, budget = chain_cells(protocol, chain), protocol.study.effective_budget
    return {
        "retune": cells * (1 + budget.trials),
        "promote": cells * budget.promoted * budget.promote_seeds,
        "external" if chain.factor == EXTERNAL else "confirm": cells * 2 * budget.confirm_seeds,
    }


@lru_cache(maxsize=1024)
def pilot_size(setting: Setting, unhonoured: frozenset[str]) -> int:
    """Members of the pilot of a task at one setting; fewer where its network leaves some of a recipe out."""
    return len(pilot_members("", "", "", setting, unhonoured))


def chain_size(protocol: ComparisonProtocol, chain: Chain) -> int:
    """Members of a whole chain."""
    return sum(chain_members(protocol, chain).values())


def chain_cells(protocol: ComparisonProtocol, chain: Chain) -> int:
    """Searches of a chain, each of one level on one block."""
    levels = ARMS if chain.factor == EXTERNAL else protocol.trained(chain)
    return len(levels) * len(protocol.blocks(chain))


def inherited_members(
    protocol: ComparisonProtocol, chain: Chain, seen: SeenEvaluations | None
) -> tuple[int, int]:
    """How many members of a chain the studies before this one trained, and how many of them diverged."""
    if seen is None or not seen.before or chain.factor == EXTERNAL:
        return 0, 0
    cells = itertools.product(protocol.blocks(chain), protocol.trained(chain))
    return seen.taken_over(chain.place, cells)


def expected_rows(protocol: ComparisonProtocol, decisions: Decisions) -> list[Chain]:
    """The chains of the questions that may still come, with those that are complete."""
    if decisions.plan is None:
        return [
            Chain(factor=question.factor, task=task, regime=regime)
            for question in protocol.study.asked
            for regime in question.regimes
            for task in protocol.hoped(question.factor, regime, decisions.margins)
        ]
    expected: list[Chain] = []
    for row, race in decisions.races.items():
        challenge = decisions.challenges.get(row)
        if challenge is None:
            challenge = expected_challenges(protocol, *row, tuple(race.possible))
        expected += [*chains_of(*row, race.possible), *challenge]
    return expected


def expected_checks(protocol: ComparisonProtocol, decisions: Decisions) -> list[Chain]:
    """The chains of the external check that may still come, with those that are complete."""
    if decisions.unchecked:
        return []
    if (external := decisions.external) is not None:
        return chains(
            {regime: external.hoped(regime, decisions.margins) for regime in external.frozen.recipes}
        )
    plan = decisions.plan
    return hoped_before(
        protocol, {(m.task, m.regime): m for m in plan.margins} if plan else decisions.margins
    )
