"""What engines and displays need of the work of a study, whatever decides what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from studies.packing import Pack
from trainers.diagnostics.names import Recorded
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from studies.execution.failure_handling import Failures


class Scheduler(Protocol):
    """The order of work of one study, kept in step with its ledger; one thread at a time."""

    study: str
    pruned: int
    diagnostics: Recorded
    failed_packs: list[Pack]
    """Packs given up in this run; the next run tries them again."""
    failures: Failures
    """The same with their causes, and whether the run ended early because all failed alike."""
    set_aside: int
    """Members in the ledger that could not be trained."""

    @property
    def finished(self) -> int:
        """Members in the ledger, of this and earlier runs and of the studies that this one extends."""

    @property
    def diverged(self) -> int:
        """As many of them as diverged."""

    @property
    def planned(self) -> int:
        """Members of the whole study."""

    def planned_by_phase(self) -> Mapping[str, int]:
        """Phase -> members."""

    @property
    def work_done(self) -> float:
        """Behind the members in the ledger, in the unit of `work_planned`."""

    @property
    def work_planned(self) -> float:
        """Of the whole study; the unit of the time left."""

    @property
    def plan_hash(self) -> str:
        """'' while the plan is not frozen."""

    @property
    def done(self) -> bool:
        """Nothing is running and nothing more can be started (complete, or the rest has failed)."""

    def notes(self) -> tuple[str, ...]:
        """What a user should know of the plan."""

    def next_pack(self) -> Pack | None:
        """The next pack to train; None: nothing is ready now (see `done`), others are running."""

    def prepare(self) -> None:
        """Makes the next pack ready where that takes time; `next_pack` does it for whom did not."""

    def commit(self, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str) -> None:
        """Writes the pack to the ledger in one transaction; then the study advances."""

    def fail(self, pack: Pack, cause: str, *, kind: str) -> None:
        """Records a failed attempt; it is tried again, split, or given up (`studies.execution.retries`)."""
