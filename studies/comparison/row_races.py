"""Which chains each row of a comparison still calls for: its race over families, then its challenge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.evidence.race_progress import RaceProgress
from studies.comparison.challenge import challenge_chains
from studies.comparison.planned_work import MemberFlops, Row, chain_size, inherited_members
from studies.comparison.protocol import Chain, Plan, chains_of
from studies.execution.planned_work import ChainKey
from studies.ledger.ledger import Ledger
from studies.ledger.lineage import SeenEvaluations


class RowRaces:
    """The races of all rows under one plan, kept in step with the ledger."""

    def __init__(self, plan: Plan, ledger: Ledger, seen: SeenEvaluations, member_work: MemberFlops) -> None:
        """Nothing is called for yet; see `start`.

        Args:
            plan: as it is frozen.
            ledger: of the study.
            seen: what it and the studies that it extends have trained.
            member_work: floating-point operations of one member; the longest chain goes first.
        """
        self.progress: dict[Row, RaceProgress] = {}
        """Row -> how far its race has come."""
        self.challenges: dict[Row, tuple[Chain, ...]] = {}
        """Row -> what its 'always' claims are challenged with, once all of it is confirmed."""
        self._plan = plan
        self._protocol = plan.protocol
        self._ledger = ledger
        self._seen = seen
        self._member_work = member_work
        self._incomplete: dict[Row, set[str]] = {}
        """Row -> tasks that its race has called for and that are not complete."""

    def start(self) -> list[Chain]:
        """The chains that the ledger does not hold whole, of every row as far as its race has come."""
        counts = self._ledger.chain_counts(self._protocol.name)
        rows = [(q.factor, regime) for q in self._protocol.study.asked for regime in q.regimes]
        called = self._call(rows, counts)
        return [*called, *(chain for row in rows for chain in self._challenge(row))]

    def complete(self, chain: Chain) -> list[Chain]:
        """What follows from the last member of a chain: the one before a look makes that due."""
        if chain.fresh:
            return []
        row = (chain.factor, chain.regime)
        self._incomplete[row].discard(chain.task)
        due = self._looks_again and not self._incomplete[row] and not self.progress[row].decided
        return [*(self._call([row], {}) if due else ()), *self._challenge(row)]

    def by_work(self, chains: Sequence[Chain]) -> list[Chain]:
        """The most work first."""
        return sorted(
            chains, key=lambda c: chain_size(self._protocol, c) * self._member_work(c.place), reverse=True
        )

    def _call(self, rows: Sequence[Row], counts: Mapping[ChainKey, int]) -> list[Chain]:
        """Looks at rows as far as their confirm members allow, and returns what their races call for.

        Args:
            rows: to look at.
            counts: key of a chain -> members in the ledger, where there are any of tasks not called for yet.
        """
        new: list[Chain] = []
        for factor, regime in rows:
            before = self.progress.get((factor, regime))
            called = before.called if before else ()
            race = self._protocol.course(
                factor,
                regime,
                self._plan.tasks[factor][regime],
                self._plan.margins,
                self._seen.confirmed(factor, regime) if self._looks_again else (),
            )
            self.progress[factor, regime] = race
            missing = [
                chain
                for chain in chains_of(factor, regime, race.called)
                if chain.task not in called and counts.get(chain.place, 0) < self._own_size(chain)
            ]
            self._incomplete[factor, regime] = {chain.task for chain in missing}
            new += missing
        return self.by_work(new)

    @property
    def _looks_again(self) -> bool:
        """Whether rows race: what they train later depends on what was confirmed before."""
        return len(self._protocol.study.effective_budget.looks) > 1

    def _challenge(self, row: Row) -> list[Chain]:
        """What challenges the 'always' claims of a row, once all of it is confirmed."""
        race = self.progress[row]
        if self._incomplete[row] or not race.ended or row in self.challenges:
            return []
        challenge = challenge_chains(self._plan, *row, race, self._seen)
        self.challenges[row] = challenge
        if not challenge:
            return []
        counts = self._ledger.chain_counts(self._protocol.name)
        own = {chain.task: chain for chain in chains_of(*row, race.called)}
        return [
            chain
            for chain in challenge
            if counts.get(chain.place, 0) < self._own_size(own[chain.task]) + self._own_size(chain)
        ]

    def _own_size(self, chain: Chain) -> int:
        """Members of a chain that this study itself has to train."""
        return chain_size(self._protocol, chain) - inherited_members(self._protocol, chain, self._seen)[0]
