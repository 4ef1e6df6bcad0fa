"""What mirroring needs of a tracking store: SQLite, PostgreSQL and MLflow's server each provide it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studies.spec.tracking_detail import Detail
from studies.tracking.runs import RunRecord

if TYPE_CHECKING:
    from studies.execution.progress import StudyProgress


class Store(Protocol):
    """One study's experiment in a tracking store; whatever is written again changes nothing."""

    batch: int
    """Members between two marks."""

    def sequence(self, detail: Detail) -> int:
        """The ledger's sequence up to which everything is here that this detail shows; asked first."""

    def write(self, runs: Iterable[RunRecord], *, mark: tuple[int, Detail] | None = None) -> None:
        """Adds runs; what is there already stays, an open run may be closed.

        Args:
            runs: any, also ones that were written before; a run comes after the one above it.
            mark: the ledger's sequence up to which everything is then here, and at which detail.
        """

    def log_datasets(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """The study's data sets as inputs of its run."""

    def progress(self, standing: StudyProgress, *, last: bool, answer: str) -> None:
        """How far the study is, on top of its run."""

    def whole(self) -> bool:
        """Whether all that this process found and wrote is still there."""

    def ended(self) -> bool:
        """Whether the study's run has been closed as finished."""

    def settle(self, *, failed: bool) -> None:
        """Called once all is written; `failed`: something had failed on the way."""

    def put_report(self, folder: Path) -> None:
        """Copies a report below the study's run, in place of an earlier one."""

    def close(self) -> None:
        """Ends all that is under way."""
