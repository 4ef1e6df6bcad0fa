"""Mirrors the ledger into MLflow while a study runs.

The ledger is the outbox: one background thread reads what was committed since its last look and writes it,
with ids and times that follow from the ledger. A crash, a locked, slow or missing store, or a second run of
the same study costs nothing but the repetition of that look. Training never waits for MLflow and never fails
because of it. The study file's `tracking` says how much is shown; a resume with more detail adds what is
missing, one with less leaves what is there.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reports.io.safe_paths import (
    DiskFull,
    LinkInTheWay,
    own_folder,
    read_bounded,
    refuse_database_links,
    refuse_link,
    write,
)
from studies.execution.progress import StudyProgress, ThroughputMeter
from studies.ledger.contract import LedgerLost, NoLedger
from studies.ledger.ledger import Ledger
from studies.site import site_of
from studies.spec.tracking_detail import Detail
from studies.tracking.client import QUIET
from studies.tracking.database import DATABASE, database_uri
from studies.tracking.experiment import Refused, Removed
from studies.tracking.report_artifacts import ARTIFACTS, location_of, replace_report, report_address
from studies.tracking.runs import study_run_id
from studies.tracking.sqlite import SEEN, damage, revision, whole
from studies.tracking.sync import StudySync, open_store

if TYPE_CHECKING:
    from reports.evidence.search_record import SearchRecord
    from reports.evidence.study_record import StudyRecord
    from studies.execution.scheduler import Scheduler

__all__ = ["ARTIFACTS", "DATABASE", "QUIET", "Tracker", "database_uri", "has_store", "log_report", "restore"]

log = logging.getLogger("groundrules.tracking")

LOOK_SECONDS = 3.0
"""How often the ledger is looked at."""
LONGEST_PAUSE = 30.0
"""Between two tries while the store fails."""
START_SECONDS = 10.0
"""How long a run waits to be told that its experiment is somebody else's, before anything is trained."""
PATIENCE_SECONDS = 180.0
"""How long the end of a run waits for the last of it,"""
OUTAGE_SECONDS = 60.0
"""and how long of it for a shared store that fails; one in the workspace gets three tries."""
REPORT_SECONDS = 30.0
"""How long the copy of a report is tried."""
STAMP = "mirrored"
"""The file in a study's folder of artifacts that says that MLflow had everything once."""
COUNTED = 1000
"""Members that are missing are counted up to here."""


class Tracker:
    """Mirrors one study; `watch` it, `start` it, `stop` it, then `log_report`."""

    def __init__(
        self,
        workspace: Path,
        study: str,
        *,
        detail: Detail = "members",
        standing: StudyProgress | None = None,
        outage_seconds: float | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            workspace: of the ledger.
            study: its name, which must be in the ledger when the mirror starts.
            detail: how much is shown.
            standing: how far the study is, where nobody will be watching.
            outage_seconds: how long the end waits for a shared store that fails; None: `OUTAGE_SECONDS`.
        """
        self._outage = outage_seconds
        self._workspace = Path(workspace).resolve()
        self._study = study
        self._detail = detail
        self._shared = bool(site_of(self._workspace).tracking)
        self._pace = ThroughputMeter()
        self._agenda: Scheduler | None = None
        self._standing = standing
        self._noted = -math.inf
        self._first: int | None = None
        """Members in the ledger when the run began."""
        self._ticked = threading.Event()
        self._stop = threading.Event()
        self._tried = threading.Event()
        """Set once the store has been opened, or could not be."""
        self._thread: threading.Thread | None = None
        self._sequence = 0
        """Of the ledger; mirrored up to here."""
        self._refused: Refused | None = None
        self.problem = ""
        """Why the mirror lags behind the ledger; '' where it does not."""

    def watch(self, agenda: Scheduler) -> None:
        """Takes note of how far the study is; cheap, called from the training thread."""
        if self._first is None:
            self._first = agenda.finished
        if agenda.finished != self._first:
            self._ticked.set()
        self._agenda = agenda
        if time.monotonic() - self._noted > 1:
            self._note()

    def _note(self) -> None:
        if self._agenda is not None:
            self._standing, self._noted = self._pace.at(self._agenda), time.monotonic()

    def start(self) -> None:
        """Starts mirroring; the study must be in the ledger.

        Raises:
            ValueError: a shared store has said at once that it will not take this study (`Refused`); or
                something that would be written in the workspace is a symbolic link.
        """
        if not self._shared:
            refuse_database_links(self._workspace / DATABASE)
            refuse_link(self._workspace / ARTIFACTS)
            refuse_link(self._workspace / ARTIFACTS / self._study)
            refuse_link(self._workspace / ARTIFACTS / self._study / STAMP)
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()
        if self._shared:
            self._tried.wait(START_SECONDS)
            if self._refused is not None:
                raise self._refused

    def stop(self) -> None:
        """Writes what is left and ends the thread; `problem` tells whether something is missing."""
        if self._thread is None:
            return
        self._note()
        self._stop.set()
        self._ticked.set()
        self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            self.problem = self.problem or f"it did not answer for {PATIENCE_SECONDS:.0f} s"
        if self.problem and self._shared and self._refused is None:
            self.problem = self._missing() + self.problem
        self._thread = None

    def _missing(self) -> str:
        """How many members the store does not have yet, where the ledger can be asked."""
        with suppress(Exception), Ledger.open(self._workspace) as ledger:
            behind = len(ledger.committed_after(self._study, self._sequence, COUNTED))
            return f"{'at least ' if behind == COUNTED else ''}{behind} members are not there yet; "
        return ""

    def log_report(self, folder: Path) -> None:
        """Puts a copy of the report's files under the study run's artifacts."""
        if self._refused is None:
            log_report(self._workspace, self._study, folder)

    def _work(self) -> None:
        if not self._shared:
            # Where MLflow must be loaded, that takes seconds, as do the workers' imports: packs go first.
            self._ticked.wait(20)
            if self._stop.is_set() and _mirrored(self._workspace, self._study, self._detail):
                return
        mirror: StudySync | None = None
        failures = failed = 0
        pause, ending = (0.0 if self._shared else LOOK_SECONDS), math.inf
        while True:
            last = self._stop.wait(pause)
            outage = OUTAGE_SECONDS if self._outage is None else self._outage
            ending = min(ending, time.monotonic() + outage) if last else math.inf
            try:
                mirror = mirror or StudySync(self._workspace, self._study, self._detail)
                self._sequence = mirror.sequence
                self._tried.set()
                mirror.look(self._standing, last=last)
                if last and not mirror.whole():
                    raise Removed("a part of it was removed meanwhile, and is written again")
                failures, self.problem = 0, ""
            except Exception as error:  # noqa: BLE001 - whatever it is, training goes on
                failures, failed = failures + 1, failed + 1
                self._tell(error)
                if mirror:
                    self._sequence = mirror.sequence
                    mirror.close()
                mirror = None
                if isinstance(error, Refused):
                    self._refused = error
                    self._tried.set()
                    return
            self._tried.set()
            if last and not self._once_more(failures, ending):
                break
            pause = min(LOOK_SECONDS * 2 ** max(0, failures - 1), LONGEST_PAUSE)
            if last:
                time.sleep(min(failures, 5))
        if mirror:
            self._finish(mirror, failed=failed > 0)

    def _once_more(self, failures: int, ending: float) -> bool:
        """Whether the end of a run tries again what has failed."""
        return failures > 0 and (time.monotonic() < ending if self._shared else failures < 3)

    def _tell(self, error: Exception) -> None:
        # Where the ledger itself has gone there is nothing to be behind of: the run ends with that error.
        if not self.problem and not isinstance(error, NoLedger):
            log.warning("MLflow is behind the ledger: %s", _brief(error))
            log.debug("details", exc_info=True)
        self.problem = _brief(error)

    def _finish(self, mirror: StudySync, *, failed: bool) -> None:
        """Everything is written: what failures left twice goes, and a complete study is sealed."""
        self._sequence = mirror.sequence
        try:
            mirror.settle(failed=failed)
            if not self._shared and not self.problem and self._standing and self._standing.complete:
                _seal(self._workspace, self._study, mirror.sequence, self._detail)
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(error)
        mirror.close()


def has_store(workspace: Path, study: str) -> bool:
    """Whether there is somewhere to put reports: a shared store, or one that a run has made here once."""
    made = (Path(workspace) / DATABASE).is_file() or (Path(workspace) / ARTIFACTS / study).is_dir()
    return made or bool(site_of(workspace).tracking)


def restore(workspace: Path, record: StudyRecord | SearchRecord) -> bool:
    """Writes what a store lacks of a study that nobody runs right now, as a run of the same command does.

    Args:
        workspace: of the ledger.
        record: what the ledger knows of the study.

    Returns:
        False where that failed, which has been told as a warning.

    Raises:
        ValueError: something that would be written in the workspace is a symbolic link.
    """
    root = Path(workspace).resolve()
    try:
        with Ledger.open(root, create=bool(site_of(root).ledger)) as ledger, ledger.hold(record.name):
            terms = ledger.study(record.name).terms
            tracker = Tracker(
                root,
                record.name,
                detail=terms.get("shown", {}).get("tracking", "members"),
                standing=_standing_of(record),
                outage_seconds=REPORT_SECONDS,
            )
            tracker.start()
            tracker.stop()
    except LinkInTheWay:
        raise
    except (ValueError, OSError, LedgerLost, DiskFull) as error:
        if "in use by another run" in str(error):  # which mirrors it itself
            return True
        log.warning("MLflow may lack a part of this study: %s", error)
        return False
    if tracker.problem:
        log.warning("MLflow lacks a part of this study: %s", tracker.problem)
    return not tracker.problem


def _standing_of(record: StudyRecord | SearchRecord) -> StudyProgress:
    """How far a study is that nobody runs."""
    rows, planned = list(record.evaluations), record.planned
    total = planned if isinstance(planned, int) else sum(planned.values())
    if (external := getattr(record, "external", None)) is not None:
        rows += external.evaluations
        total += sum(external.planned.values())
    ended = Counter(row.status for row in rows)
    return StudyProgress(
        finished=len(rows),
        planned=total,
        diverged=ended["diverged"],
        pruned=ended["pruned"],
        given_up=0,
        rate=0.0,
        seconds_left=None,
    )


def log_report(workspace: Path, study: str, folder: Path) -> None:
    """Copies a report into the artifacts of the study's run; MLflow shows what lies there.

    A failure is told as a warning: the report itself is written. Where the place is shared, it is tried again
    for a while first.

    Raises:
        ValueError: the place in the workspace is, or lies behind, a symbolic link.
    """
    root = Path(workspace).resolve()
    site = site_of(root)
    if not site.tracking and not site.artifacts:
        refuse_link(root / ARTIFACTS)
        try:
            if revision(root / DATABASE) in (*SEEN, ""):
                replace_report(folder, report_address(location_of(site, study), study))
            else:  # MLflow's own calls have given the run another id
                _put(root, study, folder)
        except LinkInTheWay:
            raise
        except Exception as error:  # noqa: BLE001 - as below
            log.warning("MLflow has no copy of this report: %s", _brief(error))
        return
    until = time.monotonic() + REPORT_SECONDS
    for pause in range(1, int(REPORT_SECONDS)):
        try:
            _put(root, study, folder)
            return
        except Exception as error:  # noqa: BLE001 - the report itself is written; MLflow only shows it
            if isinstance(error, Refused | ImportError) or time.monotonic() + pause > until:
                log.warning("MLflow has no copy of this report: %s", _brief(error))
                return
            time.sleep(pause)


def _put(root: Path, study: str, folder: Path) -> None:
    with Ledger.open(root) as ledger:
        row = ledger.study(study)
    store = open_store(root, row)
    try:
        store.put_report(folder)
    finally:
        store.close()


def _seal(workspace: Path, study: str, sequence: int, detail: Detail) -> None:
    """Notes that everything is there, for the next run of the same command."""
    write(own_folder(workspace, ARTIFACTS, study) / STAMP, f"{sequence} {detail}")


def _mirrored(workspace: Path, study: str, detail: Detail) -> bool:
    """Whether MLflow has all of a complete study: by what is there, and without loading MLflow."""
    try:
        noted, held = read_bounded(workspace / ARTIFACTS / study / STAMP).decode().split()
        sequence = int(noted)
    except (OSError, ValueError):
        return False
    place = location_of(site_of(workspace), study)
    database = workspace / DATABASE
    if held != detail or damage(database) or not whole(database, study, study_run_id(study), place):
        return False
    with Ledger.open(workspace) as ledger:
        return not ledger.committed_after(study, sequence, 1)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
