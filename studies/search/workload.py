"""What a search trains next: generations, one ahead of the other, each in packs of one structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from studies.execution.planned_work import ChainKey, PlannedPart, PlannedWork
from studies.execution.retries import Stage
from studies.ledger.ledger import Ledger
from studies.packing import Pack, missing_packs
from studies.search.generations import SearchState, members_of, open_generations
from studies.search.protocol import LEVEL, REGIME, SearchProtocol
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.tasks.task import TaskBook


def search_work(task: str, trials: int) -> PlannedWork:
    """Every trial; the unit of work is a trial, because its time depends on where the search goes."""
    return PlannedWork(parts=(PlannedPart(key=("", task, REGIME), members={"search": trials}),))


class SearchWorkload:
    """The trials of a search, generation by generation (`studies.execution.scheduler.Workload`)."""

    def __init__(
        self, protocol: SearchProtocol, ledger: Ledger, book: TaskBook, *, flops_per_second: float
    ) -> None:
        """Builds the task; nothing is read yet.

        Args:
            protocol: what is fixed.
            ledger: open for writing, with the study started.
            book: builds the task.
            flops_per_second: the recorded speed that sizes the packs.
        """
        self.study = protocol.name
        self.diagnostics = protocol.study.diagnostics
        self.protocol = protocol
        self.planned = search_work(protocol.study.task, protocol.study.trials)
        self.plan_hash = protocol.hash
        """A search has no pilot that could add to its protocol."""
        self._ledger = ledger
        self._task = book[protocol.study.task]()
        self._speed = flops_per_second
        self._stages: dict[int, Stage] = {}
        """Generation -> its packs, for those that are open."""
        self._memory = SearchState.of(protocol)
        self._done: dict[int, Evaluation] = {}
        """Trial number -> what the ledger holds of it."""
        self._due = True
        """A generation may have ended since the next one was opened."""

    def member_work(self, key: ChainKey) -> float:
        """In trials."""
        return 1.0

    def notes(self) -> tuple[str, ...]:
        """Nothing that a user must know besides what `examine` says."""
        return ()

    def start(self, abandoned: Sequence[Pack]) -> None:
        """Opens the first generations that are not complete.

        Raises:
            ValueError: the ledger holds members that this protocol would not have made.
        """
        self._ledger.start_plan(self.study, self.plan_hash, {"protocol": self.plan_hash}, ())
        self._done = self._trained()
        self._open()

    def stages(self) -> list[Stage]:
        """Of the open generations, in their order."""
        return [stage for _, stage in sorted(self._stages.items())]

    def stage_of(self, pack: Pack) -> Stage | None:
        """Of the generation of its members, which are all of one."""
        return self._stages.get(pack.members[0].slot.index // self.protocol.study.generation)

    def has_more(self) -> bool:
        """Whether opening what is due gives packs."""
        self._open()
        return any(stage.ready for stage in self._stages.values())

    def open_stages(self, enough: Callable[[], bool]) -> None:
        """Opens what is due even where packs are ready: a sampler takes seconds for a generation."""
        self._open()

    def receive(self, pack: Pack, evaluations: Sequence[Evaluation] | None) -> None:
        """Keeps what later generations depend on."""
        if evaluations is None:
            self._done = self._trained()
        else:
            self._done |= {e.slot.index: replace(e, diagnostics={}) for e in evaluations}

    def complete_stage(self, pack: Pack) -> None:
        """After the last pack of a generation another is due."""
        self._due = True

    def _trained(self) -> dict[int, Evaluation]:
        """Read once, when the search is taken up; then commits add to it."""
        rows = self._ledger.chain(self.study, "", self.protocol.study.task, REGIME)
        return {row.slot.index: replace(row, diagnostics={}) for row in rows}

    def _open(self) -> None:
        """Opens what may be trained now; packs that the ledger holds whole are left out."""
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
            pack_size=self.protocol.study.members_at_once,
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
