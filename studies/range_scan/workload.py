"""What a range scan trains next: pilots and searches, none of which waits for another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from reports.evidence.budget import Margin
from studies.comparison.pilot import margin
from studies.comparison.planned_work import MemberFlops
from studies.comparison.protocol import Chain
from studies.comparison.stages import check_known, next_members, place
from studies.execution.planned_work import ChainKey, PlannedPart, PlannedWork
from studies.execution.retries import Stage
from studies.ledger.ledger import Ledger
from studies.packing import Pack, missing_packs
from studies.range_scan.protocol import RangeScanProtocol
from trainers.diagnostics.names import Recorded
from trainers.evaluation import Evaluation
from trainers.tasks.task import TaskBook


def range_scan_work(
    protocol: RangeScanProtocol, member_work: Callable[[ChainKey], float] = lambda _: 1.0
) -> PlannedWork:
    """Every pilot and search; `member_work` of one member, in the unit of the time left."""
    return PlannedWork(
        parts=tuple(
            PlannedPart(
                key=chain.place,
                members={"retune" if chain.factor else "pilot": protocol.size(chain)},
                member_work=member_work(chain.place),
            )
            for chain in protocol.chains
        ),
        phases=("pilot", "retune"),
    )


class RangeScanWorkload:
    """The members of a range scan, search by search (`studies.execution.scheduler.Workload`).

    Of every chain only the retune is trained, whose points depend on the design alone. So nothing is decided
    on the way, and a scan that was stopped has the same members and packs as one that was not.
    """

    diagnostics: Recorded = "none"

    def __init__(
        self, protocol: RangeScanProtocol, ledger: Ledger, book: TaskBook, *, flops_per_second: float
    ) -> None:
        """Nothing is read yet.

        Args:
            protocol: what is fixed.
            ledger: open for writing, with the study started.
            book: builds the tasks.
            flops_per_second: the recorded speed that sizes the packs.
        """
        self.study = protocol.name
        self.protocol = protocol
        self.member_work = MemberFlops(protocol=protocol.fixed, book=book, pilot_weight=1.0)
        self.planned = range_scan_work(protocol, self.member_work)
        self._ledger, self._book, self._speed = ledger, book, flops_per_second
        self._margins: dict[tuple[str, str], Margin] = {}
        self._stages: dict[ChainKey, Stage] = {}
        """Of the chains that have been started and are not complete."""
        self._waiting: deque[Chain] = deque()

    @property
    def plan_hash(self) -> str:
        """Of the protocol, which leaves nothing open; '' until every task has its margin."""
        return self.protocol.hash if self._ledger.plans(self.study) else ""

    def notes(self) -> tuple[str, ...]:
        """Tasks on which even the pilot's recipes do not train: what is best there says little."""
        return tuple(
            f"{m.task} in {m.regime} would not be judged on: {m.reason}"
            for m in self._margins.values()
            if not m.accepted
        )

    def start(self, abandoned: Sequence[Pack]) -> None:
        """Queues the chains that are not complete, the most work first."""
        counts = self._ledger.chain_counts(self.study)
        work = {part.key: part.total * part.member_work for part in self.planned.parts}
        missing = [
            chain for chain in self.protocol.chains if counts.get(chain.place, 0) < self.protocol.size(chain)
        ]
        self._waiting.extend(sorted(missing, key=lambda chain: work[chain.place], reverse=True))
        for chain in self.protocol.chains:
            if not chain.factor and chain not in missing:
                self._settle(chain.task, chain.regime)

    def stages(self) -> list[Stage]:
        """Of the chains that have been started, in that order."""
        return list(self._stages.values())

    def stage_of(self, pack: Pack) -> Stage | None:
        """Of the pack's chain."""
        return self._stages.get((pack.factor, pack.task, pack.regime))

    def has_more(self) -> bool:
        """Whether chains wait to be started."""
        return bool(self._waiting)

    def open_stages(self, enough: Callable[[], bool]) -> None:
        """Opens chains that wait, until a pack is ready."""
        while self._waiting and not enough():
            chain = self._waiting.popleft()
            self._stages[chain.place] = self._opened(chain)

    def receive(self, pack: Pack, evaluations: Sequence[Evaluation] | None) -> None:
        """Nothing: no later member depends on a result."""

    def complete_stage(self, pack: Pack) -> None:
        """Closes the chain; a task's last pilot pack gives its margin."""
        del self._stages[pack.factor, pack.task, pack.regime]
        if not pack.factor:
            self._settle(pack.task, pack.regime)

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
