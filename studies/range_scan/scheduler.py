"""The order of work of a scope: pilots and searches, none of which waits for another."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence

from reports.evidence.budget import Margin
from search_spaces.space import complete
from studies.comparison.pilot import margin
from studies.comparison.protocol import Chain
from studies.comparison.stages import check_known, next_members, place
from studies.execution.failure_handling import SET_ASIDE, Failures
from studies.execution.retries import Stage, handed_out
from studies.ledger.ledger import Ledger
from studies.packing import Pack, missing_packs
from studies.range_scan.protocol import RangeScanProtocol
from trainers.diagnostics.names import Recorded
from trainers.evaluation import Evaluation
from trainers.loop.structure import estimated_flops
from trainers.tasks.task import TaskBook


class RangeScanScheduler:
    """What engines need of a range scan (`execution.scheduler_protocol.Scheduler`), in step with its ledger.

    Of every chain only the retune is trained, whose points hang on the design alone. So nothing is decided
    on the way, and a scope that was stopped has the same members and packs as one that was not.
    """

    diagnostics: Recorded = "none"

    def __init__(
        self, protocol: RangeScanProtocol, ledger: Ledger, book: TaskBook, *, flops_per_second: float
    ) -> None:
        """Takes up the scope where the ledger left it.

        Args:
            protocol: what is fixed.
            ledger: open for writing, with the study started.
            book: builds the tasks.
            flops_per_second: the recorded speed that sizes the packs.
        """
        self.study = protocol.name
        self.protocol = protocol
        self.failures = Failures(
            study=self.study,
            ledger=ledger,
            task=lambda name: book[name](),
            commit=lambda pack, rows: self.commit(pack, rows, seconds=0.0, worker=SET_ASIDE),
        )
        self.failed_packs = self.failures.given_up
        self._ledger, self._book, self._speed = ledger, book, flops_per_second
        filled = ledger.filled(self.study)
        self.finished = len(filled)
        self.diverged = sum(status == "diverged" for status in filled.values())
        self.set_aside = sum(status == "failed" for status in filled.values())
        self.pruned = 0
        self._sizes = {chain.place: protocol.size(chain) for chain in protocol.chains}
        self._works = {chain.place: self._work(chain) for chain in protocol.chains}
        there = ledger.chain_counts(self.study)
        self.work_done = sum(count * self._works[where] for where, count in there.items())
        self._margins: dict[tuple[str, str], Margin] = {}
        self._running: dict[str, Pack] = {}
        self._stages: dict[tuple[str, str, str], Stage] = {}
        """Of the chains that have been started and are not complete."""
        missing = [chain for chain in protocol.chains if there.get(chain.place, 0) < self._sizes[chain.place]]
        self._waiting = deque(sorted(missing, key=self._whole, reverse=True))
        for chain in protocol.chains:
            if not chain.factor and chain not in missing:
                self._settle(chain.task, chain.regime)

    @property
    def planned(self) -> int:
        """Members of the whole scope."""
        return sum(self._sizes.values())

    def planned_by_phase(self) -> dict[str, int]:
        """Phase -> members."""
        pilot = sum(size for (factor, _, _), size in self._sizes.items() if not factor)
        return {"pilot": pilot, "retune": self.planned - pilot}

    @property
    def work_planned(self) -> float:
        """Floating-point operations of the whole scope, as estimated."""
        return sum(map(self._whole, self.protocol.chains))

    @property
    def plan_hash(self) -> str:
        """Of the protocol, which leaves nothing open; '' until every task has its margin."""
        return self.protocol.hash if self._ledger.plans(self.study) else ""

    @property
    def done(self) -> bool:
        """Nothing is running and nothing more can be started (complete, or the rest has failed)."""
        if self.failures.common.certain:
            return not self._running
        return not (self._running or self._waiting or any(stage.ready for stage in self._stages.values()))

    def notes(self) -> tuple[str, ...]:
        """Tasks on which even the pilot's recipes do not train: what is best there says little."""
        return tuple(
            f"{found.task} in {found.regime} would not be judged on: {found.reason}"
            for found in self._margins.values()
            if not found.accepted
        )

    def next_pack(self) -> Pack | None:
        """The next pack to train; None: what is left is running (see `done`)."""
        if self.failures.common.certain:
            return None
        self.prepare()
        return handed_out(self.failures.common.order(self._stages.values()), self._running)

    def prepare(self) -> None:
        """Opens chains that wait, until a pack is ready."""
        while self._waiting and not self.failures.common.enough(self._stages.values()):
            chain = self._waiting.popleft()
            self._stages[chain.place] = self._opened(chain)

    def commit(self, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str) -> None:
        """Writes the pack to the ledger in one transaction; a task's last pilot gives its margin."""
        new = self._ledger.commit(self.study, pack, evaluations, seconds=seconds, worker=worker)
        self._running.pop(pack.id, None)
        if not new:
            return
        where = (pack.factor, pack.task, pack.regime)
        self.finished += new
        self.work_done += new * self._works[where]
        self.diverged += sum(e.status == "diverged" for e in evaluations)
        self.set_aside += sum(e.status == "failed" for e in evaluations)
        stage = self._stages[where]
        last = stage.landed(pack)
        self.failures.landed(stage, pack)
        if last:
            del self._stages[where]
            if not pack.factor:
                self._settle(pack.task, pack.regime)

    def fail(self, pack: Pack, cause: str, *, kind: str) -> None:
        """Records a failed attempt; it is tried again, split, or given up (`studies.execution.retries`)."""
        self._running.pop(pack.id, None)
        stage = self._stages.get((pack.factor, pack.task, pack.regime))
        self.failures.note(stage, pack, cause, kind)

    def _opened(self, chain: Chain) -> Stage:
        """The packs of a chain; those that the ledger holds whole are left out."""
        fixed = self.protocol.fixed
        members = self.protocol.pilot(chain) if not chain.factor else next_members(fixed, chain, {})
        rows = self._ledger.chain(self.study, *chain.place, curves=False)
        done = {place(row.slot): row for row in rows}
        check_known(self.study, members, done)
        missing = missing_packs(
            members,
            self._book[chain.task](),
            positions=fixed.positions[chain.factor],
            pack_size=self.protocol.study.pack_size,
            flops_per_second=self._speed,
            there=lambda member: place(member.slot) in done,
        )
        stage = Stage()
        stage.add(missing)
        return stage

    def _settle(self, task: str, regime: str) -> None:
        """The margin of one task-regime, from its complete pilot; the last one freezes the plan."""
        rows = self._ledger.chain(self.study, "", task, regime, curves=False)
        self._margins[task, regime] = margin(self._book[task](), regime, rows)
        pilots = [(chain.task, chain.regime) for chain in self.protocol.chains if not chain.factor]
        if all(pair in self._margins for pair in pilots):
            margins = [self._margins[pair] for pair in pilots]
            self._ledger.start_plan(self.study, self.protocol.hash, {"protocol": self.protocol.hash}, margins)

    def _work(self, chain: Chain) -> float:
        """Floating-point operations of one member of a chain, the mean over its levels' settings."""
        settings, task = self.protocol.fixed.settings(chain.factor, chain.regime), self._book[chain.task]()
        return statistics.fmean(
            estimated_flops(complete({}, setting=setting), task) for setting in dict.fromkeys(settings)
        )

    def _whole(self, chain: Chain) -> float:
        return self._sizes[chain.place] * self._works[chain.place]
