"""Hands out the packs of a study, writes their results to its ledger and keeps count, whatever its kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from studies.execution.failure_handling import SET_ASIDE, Failures
from studies.execution.planned_work import ChainKey, PlannedWork
from studies.execution.retries import Stage
from studies.ledger.ledger import Ledger
from studies.packing import Pack
from trainers.diagnostics.names import Recorded
from trainers.evaluation import Evaluation
from trainers.tasks.task import TaskBook


class Workload(Protocol):
    """What distinguishes one kind of study: which members come next, and how many are expected."""

    study: str
    diagnostics: Recorded

    @property
    def planned(self) -> PlannedWork:
        """All of the study; read ten times a second, so it is computed only where something changed."""

    @property
    def plan_hash(self) -> str:
        """'' while the plan is not frozen."""

    def member_work(self, key: ChainKey) -> float:
        """Of one member there, in the unit of the time left."""

    def notes(self) -> tuple[str, ...]:
        """What a user should know of the plan."""

    def start(self, abandoned: Sequence[Pack]) -> None:
        """Takes up the study where the ledger left it.

        Args:
            abandoned: the packs that are given up in this run; grows while it goes on.
        """

    def stages(self) -> Sequence[Stage]:
        """The stages that are open, in the order in which their packs are handed out."""

    def stage_of(self, pack: Pack) -> Stage | None:
        """The open stage that a pack belongs to; None where that is complete."""

    def open_stages(self, enough: Callable[[], bool]) -> None:
        """Opens stages that may be trained now, until there are `enough`; may ask a sampler, for seconds."""

    def has_more(self) -> bool:
        """Whether a stage can still be opened; asked where nothing is running and no pack is ready."""

    def receive(self, pack: Pack, evaluations: Sequence[Evaluation] | None) -> None:
        """Takes note of results that the ledger has committed.

        Args:
            pack: that they are of.
            evaluations: one for each member; None where the ledger had some of them already, and holds what
                counts.
        """

    def complete_stage(self, pack: Pack) -> None:
        """Goes on after the last pack of a stage was committed."""


class Scheduler:
    """The order of work of one study, kept in step with its ledger; one thread at a time.

    Whatever the order in which packs end, the members, their packs and the plan are the same.
    """

    def __init__(self, workload: Workload, ledger: Ledger, book: TaskBook) -> None:
        """Takes up the study where the ledger left it.

        Args:
            workload: of the study's kind.
            ledger: open for writing, with the study started.
            book: builds the tasks.

        Raises:
            ValueError: the ledger holds members that this protocol would not have made.
        """
        self.workload = workload
        self.study = workload.study
        self.diagnostics = workload.diagnostics
        """What is recorded inside the members."""
        self.failures = Failures(
            study=self.study,
            ledger=ledger,
            task=lambda name: book[name](),
            commit=lambda pack, rows: self.commit(pack, rows, seconds=0.0, worker=SET_ASIDE),
        )
        self.failed_packs = self.failures.given_up
        """Packs given up in this run; the next run tries them again."""
        self._ledger = ledger
        self._running: dict[str, Pack] = {}
        self._own: Counter[str] = Counter(ledger.filled(self.study).values())
        """Status -> members that this study itself has in the ledger."""
        self._own_work = sum(
            count * workload.member_work(key) for key, count in ledger.chain_counts(self.study).items()
        )
        workload.start(self.failed_packs)

    @property
    def finished(self) -> int:
        """Members in the ledger, of this and earlier runs and of the studies that this one extends."""
        return self._own.total() + self.workload.planned.inherited

    @property
    def diverged(self) -> int:
        """As many of them as diverged."""
        return self._own["diverged"] + self.workload.planned.inherited_diverged

    @property
    def pruned(self) -> int:
        """Members that were stopped because others did better; only searches prune."""
        return self._own["pruned"]

    @property
    def set_aside(self) -> int:
        """Members in the ledger that could not be trained."""
        return self._own["failed"]

    @property
    def planned(self) -> int:
        """Members of the whole study; an estimate until its pilot and its races are over."""
        return self.workload.planned.total

    @property
    def work_done(self) -> float:
        """Behind the members in the ledger, in the unit of `work_planned`."""
        return self._own_work + self.workload.planned.inherited_work

    @property
    def work_planned(self) -> float:
        """Of the whole study, as estimated; the unit of the time left."""
        return self.workload.planned.work

    @property
    def plan_hash(self) -> str:
        """'' while the plan is not frozen."""
        return self.workload.plan_hash

    def notes(self) -> tuple[str, ...]:
        """What a user should know of the plan."""
        return self.workload.notes()

    @property
    def done(self) -> bool:
        """Nothing is running and nothing more can be started (complete, or what is left has failed)."""
        if self._running:
            return False
        if self.failures.common.certain:
            return True
        return not (any(stage.ready for stage in self.workload.stages()) or self.workload.has_more())

    def next_pack(self) -> Pack | None:
        """The next pack to train; None: nothing is ready now (see `done`), others are running."""
        if self.failures.common.certain:
            return None
        if not self._enough():
            self.prepare()
        for stage in self.failures.common.order(self.workload.stages()):
            if stage.ready:
                pack = stage.ready.popleft()
                self._running[pack.id] = pack
                return pack
        return None

    def prepare(self) -> None:
        """Opens stages ahead of `next_pack`, which does it where nobody did: a sampler may take seconds."""
        self.workload.open_stages(self._enough)

    def _enough(self) -> bool:
        """Whether a pack can be handed out without opening another stage."""
        return self.failures.common.enough(self.workload.stages())

    def commit(self, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str) -> None:
        """Writes the pack to the ledger in one transaction; then the study advances.

        A pack that comes in twice (a worker believed dead) changes nothing but the list of attempts.

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
        whole = new == len(evaluations)
        if whole:
            self._own.update(e.status for e in evaluations)
        else:  # the ledger had some of them, and those count
            self._own = Counter(self._ledger.filled(self.study).values())
        self._own_work += new * self.workload.member_work((pack.factor, pack.task, pack.regime))
        stage = self.workload.stage_of(pack)
        self.workload.receive(pack, evaluations if whole else None)
        if stage is None:
            return
        last = stage.landed(pack)
        self.failures.landed(stage, pack)
        if last:
            self.workload.complete_stage(pack)

    def fail(self, pack: Pack, cause: str, *, kind: str) -> None:
        """Records a failed attempt; the pack is retried, split or given up (`studies.execution.retries`).

        Args:
            pack: as `next_pack` gave it.
            cause: in a line.
            kind: one of `studies.execution.failure_kinds.KINDS`.
        """
        self._running.pop(pack.id, None)
        self.failures.note(self.workload.stage_of(pack), pack, cause, kind)
