"""Mirrors the ledger into MLflow while a study runs. The only door to MLflow.

The ledger is the outbox: one background thread reads what was committed since its last look and
writes it in one transaction, with ids and times that follow from the ledger. A crash, a locked or
missing store, or a second run of the same study costs nothing but the repetition of that look.
Training never waits for MLflow and never fails because of it.

Member runs are inserted in bulk into MLflow's own tables (about 1 ms of CPU each, against 16 to 30 ms by
the client's create_run, log_batch and set_terminated). Everything rare goes through MLflow's store object.
The study file's `tracking` says how much is shown; a resume with more detail adds what is missing, one with
less leaves what is there.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.search_record import EXPLORATORY
from studies.detail import DETAILS, Detail, contains, shown, with_curve
from studies.ledger import Committed, Ledger, StudyRow
from studies.lineage import extension
from studies.progress import Pace, Standing
from studies.runs import (
    INTERIM,
    Cell,
    Point,
    Run,
    cell_run_id,
    member_run,
    sizes,
    study_run,
    study_run_id,
)

if TYPE_CHECKING:
    from studies.work import Work
    from trainers.evaluation import Slot

log = logging.getLogger("groundrules.tracking")

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
LOOK_SECONDS = 3.0
"""How often the ledger is looked at."""
PROGRESS_SECONDS = 15.0
"""How often the study run's progress is written."""
PATIENCE_SECONDS = 180.0
"""How long the end of a run waits for the last of it."""
BATCH = 500
"""Members in one transaction."""
CACHE_KB = 64_000
"""What SQLite may keep of MLflow's database in memory; its 2 MB are too few for the indices of 1,000 runs."""
SEQUENCE = "groundrules.sequence"
"""The experiment's tag that says how much of the ledger it holds,"""
SHOWN = "groundrules.tracking"
"""and at which detail."""
CLOSING = "UPDATE runs SET status = ?, start_time = ?, end_time = ? WHERE run_uuid = ? AND status = 'RUNNING'"
COLUMNS = {
    "runs": (
        "run_uuid", "name", "user_id", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri",
        "experiment_id", "source_type", "source_name", "source_version", "entry_point_name",
    ),
    "tags": ("run_uuid", "key", "value"),
    "params": ("run_uuid", "key", "value"),
}  # fmt: skip
VALUES = ("run_uuid", "key", "value", "is_nan", "timestamp", "step")
"""The columns of MLflow's two tables of metrics."""
LARGEST = sys.float_info.max
"""MLflow stores infinities as the largest double."""

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
}


def database_uri(workspace: Path) -> str:
    """What to pass to `mlflow.set_tracking_uri` to read a workspace's runs."""
    return f"sqlite:///{(workspace / DATABASE).resolve()}"


class Tracker:
    """Mirrors one study; `watch` it, `start` it, `stop` it, then `log_report`."""

    def __init__(self, workspace: Path, study: str, *, detail: Detail = "members") -> None:
        self._workspace = Path(workspace).resolve()
        self._study = study
        self._detail = detail
        self._pace = Pace()
        self._agenda: Work | None = None
        self._standing: Standing | None = None
        self._noted = -math.inf
        self._first: int | None = None
        """Members in the ledger when the run began."""
        self._ticked = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
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
        """Starts mirroring; the study must be in the ledger."""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

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
        self._thread = None

    def log_report(self, folder: Path) -> None:
        """Puts a copy of the report's files under the study run's artifacts."""
        log_report(self._workspace, self._study, folder)

    def _work(self) -> None:
        # Importing MLflow takes seconds, and so do the workers' imports: let the first pack come in first.
        self._ticked.wait(20)
        mirror: _Mirror | None = None
        failures = 0
        if self._stop.is_set() and _mirrored(self._workspace, self._study, self._detail):
            return
        while True:
            last = self._stop.wait(LOOK_SECONDS if failures < 3 else 10 * LOOK_SECONDS)
            try:
                mirror = mirror or _Mirror(self._workspace, self._study, self._detail)
                mirror.look(self._standing, last=last)
                failures, self.problem = 0, ""
            except Exception as error:  # whatever it is, training goes on
                failures += 1
                if not self.problem:
                    log.warning("MLflow is behind the ledger: %s", _brief(error))
                    log.debug("details", exc_info=True)
                self.problem = _brief(error)
                if mirror:
                    mirror.close()
                mirror = None
                if last and failures < 3:
                    time.sleep(1)
                    continue
            if last:
                break
        if mirror:
            if not self.problem and self._standing and self._standing.complete:
                mirror.seal()
            mirror.close()


def _seal(workspace: Path, sequence: int, detail: Detail) -> str:
    """What is noted when everything up to `sequence` is in this very database file."""
    return f"{sequence} {(workspace / DATABASE).stat().st_ino} {detail}"


def _mirrored(workspace: Path, study: str, detail: Detail) -> bool:
    """Whether MLflow has all of a complete study, told without the seconds it takes to load MLflow."""
    try:
        seal = (workspace / ARTIFACTS / study / "mirrored").read_text(encoding="utf-8")
        sequence = int(seal.split()[0])
        now = _seal(workspace, sequence, detail)
    except (OSError, ValueError, IndexError):
        return False
    with Ledger.open(workspace) as ledger:
        return seal == now and not ledger.committed_after(study, sequence, 1)


def log_report(workspace: Path, study: str, folder: Path) -> Path:
    """Copies a report into the artifacts of the study's run; MLflow shows what lies there."""
    root = Path(workspace).resolve() / ARTIFACTS / study / study_run_id(study) / "artifacts"
    fresh, shown = root / ".report.new", root / "report"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(folder, fresh)
    shutil.rmtree(shown, ignore_errors=True)
    fresh.rename(shown)
    return shown


class _Mirror:
    """One connection to the ledger and one to MLflow, used by one thread."""

    def __init__(self, workspace: Path, study: str, detail: Detail) -> None:
        os.environ.update(QUIET)
        self._workspace = workspace
        self._ledger = Ledger.open(workspace)
        self._row: StudyRow = self._ledger.study(study)
        self._detail = detail
        self._store = _Store(workspace, study)
        self._sizes = sizes(self._row)
        search = self._row.protocol["spec"].get("kind") == "search"
        self._answer = EXPLORATORY if search else "The answer is in report/index.html."
        if (of := extension(self._ledger, study)) is not None and of.unregistered:
            self._answer = f"EXPLORATORY, not evidence: extends {of.parent} beyond what it had registered."
        self._cells: dict[str, Cell] = {}
        """Cells at work."""
        self._known: set[tuple[str, str, str]] = set()
        """(factor, task, regime) whose cells have been taken up where an earlier run left them."""
        self._sequence = self._earlier = self._store.sequence(detail)
        self._progress_at = -math.inf
        self._store.write([study_run(self._row)])
        self._store.log_datasets(study_run_id(study), self._row.protocol["facts"])

    def look(self, standing: Standing | None, *, last: bool) -> None:
        """Writes what is new; a finished and mirrored study is left alone."""
        study = self._row.name
        batch = self._ledger.committed_after(study, self._sequence, BATCH)
        if not batch and last and self._sequence == self._earlier and self._store.ended(study_run_id(study)):
            return
        while batch:
            self._store.write(self._runs(batch), mark=(batch[-1].sequence, self._detail))
            self._sequence = batch[-1].sequence
            batch = self._ledger.committed_after(study, self._sequence, BATCH)
        if standing and (last or time.monotonic() - self._progress_at >= PROGRESS_SECONDS):
            self._store.progress(study_run_id(study), standing, last=last, answer=self._answer)
            self._progress_at = time.monotonic()

    def _runs(self, batch: Sequence[Committed]) -> Iterator[Run]:
        touched: dict[str, Cell] = {}
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

    def _cell(self, committed: Committed) -> tuple[str, Cell]:
        """The cell of a member, with the member in it."""
        key = cell_run_id(committed.evaluation)
        if key not in self._cells:
            self._cells[key] = Cell.of(committed)
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

    def seal(self) -> None:
        """Notes that everything is there, for the next run of the same command."""
        folder = self._workspace / ARTIFACTS / self._row.name
        folder.mkdir(parents=True, exist_ok=True)
        text = _seal(self._workspace, self._sequence, self._detail)
        (folder / "mirrored").write_text(text, encoding="utf-8")

    def close(self) -> None:
        self._ledger.close()
        self._store.close()


class _Store:
    """MLflow's SQLite store, with bulk writing that may be repeated."""

    def __init__(self, workspace: Path, study: str) -> None:
        from mlflow.store.tracking.dbmodels import models
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # or it tells how it makes its tables
        self._models = models
        self._artifacts = workspace / ARTIFACTS / study
        self._address = self._artifacts.as_uri()
        database, artifacts = workspace / DATABASE, (workspace / ARTIFACTS).as_uri()
        if not database.exists():
            with tempfile.TemporaryDirectory() as elsewhere:
                SqlAlchemyStore(database_uri(Path(elsewhere)), artifacts).engine.dispose()
                _appear(Path(elsewhere) / DATABASE, database)
        with database.open("r+b") as file:  # MLflow would try for minutes before it says so
            if file.read(16) != b"SQLite format 3\0":
                raise OSError(f"{database} is not an SQLite database")
        self._store = SqlAlchemyStore(database_uri(workspace), artifacts)
        self._engine = self._store.engine
        self._experiment = self._find(study)

    def _find(self, study: str) -> int:
        from mlflow.entities import ExperimentTag

        found = self._store.get_experiment_by_name(study)
        if found is None:
            tags = {
                "mlflow.experimentKind": "custom_model_development",
                "mlflow.note.content": f"Groundrules study '{study}'. Evidence: only the runs with the tag "
                "groundrules.evidence = true. The answer is in the report of the study run.",
                "mlflow.experiment.primaryMetric.name": "validation/metric",
                "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
                "groundrules.study": study,
            }
            rows = [ExperimentTag(key, value) for key, value in tags.items()]
            return int(self._store.create_experiment(study, self._address, rows))
        if found.lifecycle_stage != "active":
            self._store.restore_experiment(found.experiment_id)
        return int(found.experiment_id)

    def sequence(self, detail: Detail) -> int:
        """The ledger's sequence up to which everything is here that this detail shows."""
        tags = self._store.get_experiment(str(self._experiment)).tags
        held = tags.get(SHOWN, "members")  # before there was a choice
        if held not in DETAILS or not contains(held, detail):
            return 0
        return int(tags.get(SEQUENCE, 0))

    def ended(self, run_id: str) -> bool:
        """Whether the run has been closed as finished."""
        return bool(self._store.get_run(run_id).info.status == "FINISHED")

    def write(self, runs: Iterable[Run], *, mark: tuple[int, Detail] | None = None) -> None:
        """Inserts runs in one transaction; what is there already stays, an open run may be closed.

        Args:
            runs: any, also ones that were written before.
            mark: the ledger's sequence up to which everything is then here, and at which detail.
        """
        runs, m = list(runs), self._models
        points = [(run.id, point) for run in runs for point in run.metrics]
        latest = {(id_, p.key): (id_, p) for id_, p in sorted(points, key=lambda pair: pair[1].step)}
        rows: dict[Any, list[tuple[Any, ...]]] = {
            m.SqlRun: [self._row(run) for run in runs],
            m.SqlTag: [(run.id, key, value) for run in runs for key, value in _tags(run).items()],
            m.SqlParam: [(run.id, key, value) for run in runs for key, value in run.params.items()],
            m.SqlMetric: [_metric(*pair) for pair in points],
            m.SqlLatestMetric: [_metric(*pair) for pair in latest.values()],
        }
        closed = [(_status(r), r.start_ms, r.end_ms, r.id) for r in runs if r.opens and not r.running]
        marks = [] if mark is None else [(SEQUENCE, str(mark[0])), (SHOWN, mark[1])]
        with self._engine.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KB}")
            # As text: SQLAlchemy takes longer to prepare 80 rows of one member than SQLite to insert them.
            for table, values in rows.items():
                if values:
                    connection.exec_driver_sql(self._insertion(table), values)
            if closed:
                connection.exec_driver_sql(CLOSING, closed)
            for key, value in marks:
                tag = {"experiment_id": self._experiment, "key": key, "value": value}
                replacing = m.SqlExperimentTag.__table__.insert().prefix_with("OR REPLACE")
                connection.execute(replacing, tag)

    def _insertion(self, table: Any) -> str:
        names = COLUMNS.get(table.__tablename__, VALUES)
        marks = ", ".join("?" * len(names))
        return f"INSERT OR IGNORE INTO {table.__tablename__} ({', '.join(names)}) VALUES ({marks})"

    def _row(self, run: Run) -> tuple[Any, ...]:
        return (
            run.id,
            run.name,
            "groundrules",
            _status(run),
            run.start_ms,
            run.end_ms,
            "active",
            f"{self._address}/{run.id}/artifacts",
            self._experiment,
            "LOCAL",
            "groundrules",
            "",
            "",
        )

    def log_datasets(self, run_id: str, tasks: Sequence[Mapping[str, Any]]) -> None:
        """The study's data sets as inputs of its run; MLflow keeps each digest once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                dataset=Dataset(
                    name=facts["name"],
                    digest=facts["content_hash"][:36],
                    source_type="groundrules",
                    source=facts["source"] or facts["name"],
                    profile=f'{{"items": {facts["items"]}, "features": {facts["features"]}}}',
                ),
                tags=[InputTag("mlflow.data.context", "training")],
            )
            for facts in tasks
        ]
        self._store.log_inputs(run_id, inputs)

    def progress(self, run_id: str, standing: Standing, *, last: bool, answer: str) -> None:
        """How far the study is, as metrics and as the text on top of its run."""
        from mlflow.entities import Metric, RunStatus, RunTag

        now = time.time_ns() // 1_000_000
        complete = last and standing.complete
        values = {
            "progress/members_done": standing.finished,
            "progress/members_planned": standing.planned,
            "progress/members_per_second": standing.rate,
            "progress/seconds_left": standing.seconds_left or 0.0,
            "progress/diverged": standing.diverged,
            "progress/pruned": standing.pruned,
        }
        metrics = [Metric(key, float(value), now, standing.finished) for key, value in values.items()]
        text = standing.sentence()
        note = f"{text}. {answer}" if complete else f"{text} ({INTERIM})"
        status = RunStatus.FINISHED if complete else RunStatus.KILLED if last else RunStatus.RUNNING
        self._store.log_batch(run_id, metrics, [], [RunTag("mlflow.note.content", note)])
        self._store.update_run_info(run_id, status, now if last else None, None)

    def close(self) -> None:
        self._engine.dispose()


def _appear(made: Path, place: Path) -> None:
    """Puts a file into its place whole: a kill while MLflow makes its tables would spoil the store."""
    near = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.copyfile(made, near)
    with suppress(FileExistsError):  # another run has just made one: that is as good
        os.link(near, place)
    near.unlink()


def _status(run: Run) -> str:
    """MLflow's word for how a run stands."""
    if run.running:
        return "RUNNING"
    return "KILLED" if run.killed else "FINISHED"


def _tags(run: Run) -> dict[str, str]:
    """The run's own tags and the ones MLflow reads; empty ones are left out."""
    named = {"mlflow.runName": run.name, "mlflow.user": "groundrules", "mlflow.parentRunId": run.parent}
    return {key: value for key, value in {**run.tags, **named}.items() if value}


def _metric(run_id: str, point: Point) -> tuple[Any, ...]:
    value = float(point.value)
    bad = math.isnan(value)
    kept = 0.0 if bad else max(-LARGEST, min(LARGEST, value))
    return (run_id, point.key, kept, bad, point.ms, point.step)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
