"""What of a study is written into a tracking store, and when: everything committed, once, in its order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reports.evidence.search_record import EXPLORATORY
from studies.execution.failure_kinds import by_kind
from studies.ledger.ledger import CommittedEvaluation, Ledger, StudyRow
from studies.ledger.lineage import extension
from studies.site import site_of
from studies.spec.tracking_detail import Detail, shown, with_curve
from studies.tracking.report_artifacts import location_of
from studies.tracking.runs import CellSummary, RunRecord, cell_run_id, member_run, sizes, study_run
from studies.tracking.store import Store

if TYPE_CHECKING:
    from studies.execution.progress import StudyProgress
    from trainers.evaluation import Slot

PROGRESS_SECONDS = 15.0
"""How often the study run's progress is written."""


def open_store(workspace: Path, row: StudyRow) -> Store:
    """Where the workspace's site says: its own SQLite file, a PostgreSQL database, or an MLflow server."""
    site = site_of(workspace)
    if site.tracking.startswith("http"):
        from studies.tracking.server import server_store

        return server_store(site, row)
    from studies.tracking import database

    location = location_of(site, row.name)
    if site.tracking:
        return database.postgresql_store(site.tracking_address, row, location)
    return database.sqlite_store(workspace, row, location)


class StudySync:
    """One connection to the ledger and one to the tracking store, used by one thread."""

    def __init__(self, workspace: Path, study: str, detail: Detail) -> None:
        self._ledger = Ledger.open(workspace)
        self._row: StudyRow = self._ledger.study(study)
        self._detail = detail
        self._store = open_store(workspace, self._row)
        self._sizes = sizes(self._row)
        search = self._row.protocol["spec"].get("kind") == "search"
        self._answer = EXPLORATORY if search else "The answer is in report/index.html."
        if (of := extension(self._ledger, study)) is not None and of.unregistered:
            self._answer = f"EXPLORATORY, not evidence: extends {of.parent} beyond what it had registered."
        self._cells: dict[str, CellSummary] = {}
        """Cells at work."""
        self._known: set[tuple[str, str, str]] = set()
        """(factor, task, regime) whose cells have been taken up where an earlier run left them."""
        self.sequence = self._earlier = self._store.sequence(detail)
        """Of the ledger; everything up to it is in the store."""
        self._progress_at = -float("inf")
        self._store.write([study_run(self._row)])
        self._store.log_datasets(self._row.protocol["facts"])

    def look(self, standing: StudyProgress | None, *, last: bool) -> None:
        """Writes what is new; a finished and mirrored study is left alone."""
        batch = self._next()
        if not batch and last and self.sequence == self._earlier and self._store.ended():
            return
        while batch:
            self._store.write(self._runs(batch), mark=(batch[-1].sequence, self._detail))
            self.sequence = batch[-1].sequence
            batch = self._next()
        if standing and (last or time.monotonic() - self._progress_at >= PROGRESS_SECONDS):
            attempts = self._ledger.attempts(self._row.name)
            standing = replace(standing, failures=by_kind(attempts))
            self._store.progress(standing, last=last, answer=self._answer)
            self._progress_at = time.monotonic()

    def _next(self) -> list[CommittedEvaluation]:
        return self._ledger.committed_after(self._row.name, self.sequence, self._store.batch)

    def _runs(self, batch: Sequence[CommittedEvaluation]) -> Iterator[RunRecord]:
        touched: dict[str, CellSummary] = {}
        for committed in batch:
            self._take_up(committed.evaluation.slot)
            key, cell = self._cell(committed)
            touched[key] = cell
        for key, cell in touched.items():
            if cell.complete(self._sizes):
                yield cell.run()
                self._cells.pop(key, None)
            elif not cell.shown:
                cell.shown = True
                yield cell.opened()
        for committed in batch:
            if shown(committed.evaluation, self._detail):
                yield member_run(committed, curve=with_curve(committed.evaluation, self._detail))

    def _cell(self, committed: CommittedEvaluation) -> tuple[str, CellSummary]:
        """The cell of a member, with the member in it."""
        key = cell_run_id(committed.evaluation)
        if key not in self._cells:
            self._cells[key] = CellSummary.of(committed)
        self._cells[key].add(committed)
        return key, self._cells[key]

    def _take_up(self, slot: Slot) -> None:
        """A cell is judged whole: what an earlier run has mirrored of its chain is read once more."""
        chain = (slot.factor, slot.task, slot.regime)
        if chain in self._known:
            return
        self._known.add(chain)
        if self._earlier:
            for committed in self._ledger.committed_of(self._row.name, *chain, until=self._earlier):
                key, cell = self._cell(committed)
                if cell.complete(self._sizes):
                    del self._cells[key]

    def whole(self) -> bool:
        """Whether nothing of it was removed meanwhile."""
        return self._store.whole()

    def put_report(self, folder: Path) -> None:
        """Copies a report below the study's run."""
        self._store.put_report(folder)

    def settle(self, *, failed: bool) -> None:
        """All is written: what failures may have left twice is there once."""
        self._store.settle(failed=failed)

    def close(self) -> None:
        self._ledger.close()
        self._store.close()
