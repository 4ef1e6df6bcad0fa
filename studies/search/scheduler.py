"""The order of work of a search: generations, one ahead of the other, each in packs of one structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from studies.execution.failure_handling import SET_ASIDE, Failures
from studies.execution.retries import Stage, handed_out
from studies.ledger.ledger import Ledger
from studies.packing import Pack, missing_packs
from studies.search.generations import SearchState, members_of, open_generations
from studies.search.protocol import LEVEL, REGIME, SearchProtocol
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.tasks.task import TaskBook


class SearchScheduler:
    """What engines need of a search (`execution.scheduler_protocol.Scheduler`), in step with its ledger.

    Whatever the order in which packs end, what is asked later is the same.
    """

    def __init__(
        self, protocol: SearchProtocol, ledger: Ledger, book: TaskBook, *, flops_per_second: float
    ) -> None:
        """Takes up the study where the ledger left it.

        Args:
            protocol: what is fixed.
            ledger: open for writing, with the study started.
            book: builds the task.
            flops_per_second: the recorded speed that sizes the packs.

        Raises:
            ValueError: the ledger holds members that this protocol would not have made.
        """
        self.study = protocol.name
        self.protocol = protocol
        self.diagnostics = protocol.study.diagnostics
        self.failures = Failures(
            study=self.study,
            ledger=ledger,
            task=lambda name: book[name](),
            commit=lambda pack, rows: self.commit(pack, rows, seconds=0.0, worker=SET_ASIDE),
        )
        self.failed_packs = self.failures.given_up
        self._ledger = ledger
        self._task = book[protocol.study.task]()
        self._speed = flops_per_second
        self._size = protocol.study.members_at_once
        status = Counter(ledger.filled(self.study).values())
        self.finished = sum(status.values())
        self.diverged = status["diverged"]
        self.pruned = status["pruned"]
        self.set_aside = status["failed"]
        self._running: dict[str, Pack] = {}
        self._stages: dict[int, Stage] = {}
        """Generation -> its packs, for those that are open."""
        ledger.start_plan(self.study, protocol.hash, {"protocol": protocol.hash}, ())
        self._memory = SearchState.of(protocol)
        self._done = self._trained()
        self._due = True
        """A generation may have ended since the next one was asked for."""
        self.prepare()

    @property
    def planned(self) -> int:
        """Trials of the whole search."""
        return self.protocol.study.trials

    def planned_by_phase(self) -> dict[str, int]:
        """Phase -> members."""
        return {"search": self.planned}

    @property
    def work_done(self) -> float:
        """In trials: how long one takes hangs on where the search goes."""
        return float(self.finished)

    @property
    def work_planned(self) -> float:
        """In trials."""
        return float(self.planned)

    @property
    def plan_hash(self) -> str:
        """Of the protocol: a search has no pilot that could add to it."""
        return self.protocol.hash

    @property
    def done(self) -> bool:
        """Nothing is running and nothing more can be started (complete, or the rest has failed)."""
        if self.failures.common.certain:
            return not self._running
        if not self._running and not self._any_ready:
            self.prepare()
        return not self._running and not self._any_ready

    def notes(self) -> tuple[str, ...]:
        """Nothing that a user must know besides what `examine` says."""
        return ()

    def next_pack(self) -> Pack | None:
        """The next pack of the open generations; None: what is left of them is running (see `done`)."""
        if self.failures.common.certain:
            return None
        if not self._any_ready:
            self.prepare()
        stages = [stage for _, stage in sorted(self._stages.items())]
        return handed_out(self.failures.common.order(stages), self._running)

    @property
    def _any_ready(self) -> bool:
        return any(stage.ready for stage in self._stages.values())

    def commit(self, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str) -> None:
        """Writes the pack to the ledger in one transaction; after the last of a generation another is due.

        Args:
            pack: as `next_pack` gave it.
            evaluations: one for each member, in order.
            seconds: training time of the whole pack.
            worker: who trained it, for the record.
        """
        new = self._ledger.commit(self.study, pack, evaluations, seconds=seconds, worker=worker)
        self._running.pop(pack.id, None)
        if not new:
            return
        self.finished += new
        self.diverged += sum(e.status == "diverged" for e in evaluations)
        self.pruned += sum(e.status == "pruned" for e in evaluations)
        self.set_aside += sum(e.status == "failed" for e in evaluations)
        if new == len(evaluations):
            self._done |= {e.slot.index: replace(e, diagnostics={}) for e in evaluations}
        else:  # the ledger had some of them, and those count
            self._done = self._trained()
        stage = self._stages.get(self._generation(pack))
        if stage is None:
            return
        last = stage.landed(pack)
        self.failures.landed(stage, pack)
        self._due = self._due or last

    def fail(self, pack: Pack, cause: str, *, kind: str) -> None:
        """Records a failed attempt; the pack is retried, split or given up (`studies.execution.retries`).

        Args:
            pack: as `next_pack` gave it.
            cause: in a line.
            kind: one of `studies.execution.failure_kinds.KINDS`.
        """
        self._running.pop(pack.id, None)
        self.failures.note(self._stages.get(self._generation(pack)), pack, cause, kind)

    def _trained(self) -> dict[int, Evaluation]:
        """Trial number -> what the ledger holds: read once, when the search is taken up."""
        rows = self._ledger.chain(self.study, "", self.protocol.study.task, REGIME)
        return {row.slot.index: replace(row, diagnostics={}) for row in rows}

    def _generation(self, pack: Pack) -> int:
        """Of its members, which are all of one."""
        return pack.members[0].slot.index // self.protocol.study.generation

    def prepare(self) -> None:
        """Opens what may be trained now; packs that the ledger holds whole are left out.

        A sampler takes seconds for a generation, so whoever waits for a pack that is ready gets it before.
        """
        if not self._due:
            return
        self._due = False
        ready = open_generations(self.protocol, self._done, self._memory)
        self._stages = {number: stage for number, stage in self._stages.items() if number in ready}
        for generation in ready:
            if generation not in self._stages:
                self._stages[generation] = self._opened(generation)

    def _opened(self, generation: int) -> Stage:
        done, stage = self._done, Stage()
        members = members_of(generation, self.protocol, done, self._memory)
        for member in members:
            self._check(member, done.get(member.slot.index))
        missing = missing_packs(
            members,
            self._task,
            positions={LEVEL: 0},
            pack_size=self._size,
            flops_per_second=self._speed,
            there=lambda member: member.slot.index in done,
        )
        stage.add(missing)
        return stage

    def _check(self, member: Member, known: Evaluation | None) -> None:
        if known is not None and known.config != member.config:
            raise ValueError(
                f"study '{self.study}': the ledger holds another point for trial {member.slot.index} than "
                "this installation asks for; resume with the versions it was started with"
            )
