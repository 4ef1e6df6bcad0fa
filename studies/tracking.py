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
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from studies.ledger import Ledger
from studies.mirroring.detail import Detail
from studies.mirroring.mirror import Mirror, open_store
from studies.mirroring.mlflow_books import QUIET
from studies.mirroring.mlflow_database import DATABASE, database_uri
from studies.mirroring.mlflow_experiment import Refused
from studies.mirroring.report_copies import ARTIFACTS, location_of, replace_report, report_address
from studies.site import site_of
from studies.training.progress import Pace, Standing

if TYPE_CHECKING:
    from studies.training.work import Work

__all__ = ["ARTIFACTS", "DATABASE", "QUIET", "Tracker", "database_uri", "has_store", "log_report"]

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
COUNTED = 1000
"""Members that are missing are counted up to here."""


class Tracker:
    """Mirrors one study; `watch` it, `start` it, `stop` it, then `log_report`."""

    def __init__(self, workspace: Path, study: str, *, detail: Detail = "members") -> None:
        self._workspace = Path(workspace).resolve()
        self._study = study
        self._detail = detail
        self._shared = bool(site_of(self._workspace).tracking)
        self._pace = Pace()
        self._agenda: Work | None = None
        self._standing: Standing | None = None
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

    def watch(self, agenda: Work) -> None:
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
            ValueError: a shared store has said at once that it will not take this study (`Refused`).
        """
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
        mirror: Mirror | None = None
        failures = failed = 0
        pause, ending = (0.0 if self._shared else LOOK_SECONDS), math.inf
        while True:
            last = self._stop.wait(pause)
            ending = min(ending, time.monotonic() + OUTAGE_SECONDS) if last else math.inf
            try:
                mirror = mirror or Mirror(self._workspace, self._study, self._detail)
                self._sequence = mirror.sequence
                self._tried.set()
                mirror.look(self._standing, last=last)
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
        if not self.problem:
            log.warning("MLflow is behind the ledger: %s", _brief(error))
            log.debug("details", exc_info=True)
        self.problem = _brief(error)

    def _finish(self, mirror: Mirror, *, failed: bool) -> None:
        """Everything is written: what failures left twice goes, and a complete study is sealed."""
        self._sequence = mirror.sequence
        try:
            mirror.settle(failed=failed)
            if not self._shared and not self.problem and self._standing and self._standing.complete:
                _seal(self._workspace, self._study, mirror.sequence, self._detail)
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(error)
        mirror.close()


def has_store(workspace: Path) -> bool:
    """Whether there is somewhere to put reports: a shared store, or one that a run has made here."""
    return bool(site_of(workspace).tracking) or (Path(workspace) / DATABASE).is_file()


def log_report(workspace: Path, study: str, folder: Path) -> None:
    """Copies a report into the artifacts of the study's run; MLflow shows what lies there.

    Where the place is shared, a failure is tried again for a while and then told as a warning.
    """
    root = Path(workspace).resolve()
    site = site_of(root)
    if not site.tracking and not site.artifacts:
        try:
            replace_report(folder, report_address(location_of(site, study), study))
        except OSError as error:  # a full disk: the report itself is written
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


def _seal_text(workspace: Path, sequence: int, detail: Detail) -> str:
    """What is noted when everything up to `sequence` is in this very database file."""
    return f"{sequence} {(workspace / DATABASE).stat().st_ino} {detail}"


def _seal(workspace: Path, study: str, sequence: int, detail: Detail) -> None:
    """Notes that everything is there, for the next run of the same command."""
    folder = workspace / ARTIFACTS / study
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mirrored").write_text(_seal_text(workspace, sequence, detail), encoding="utf-8")


def _mirrored(workspace: Path, study: str, detail: Detail) -> bool:
    """Whether MLflow has all of a complete study, told without the seconds it takes to load MLflow."""
    try:
        seal = (workspace / ARTIFACTS / study / "mirrored").read_text(encoding="utf-8")
        sequence = int(seal.split()[0])
        now = _seal_text(workspace, sequence, detail)
    except (OSError, ValueError, IndexError):
        return False
    with Ledger.open(workspace) as ledger:
        return seal == now and not ledger.committed_after(study, sequence, 1)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
