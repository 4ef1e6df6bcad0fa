"""Writes runs in bulk into MLflow's own tables, in SQLite or PostgreSQL.

A member takes about 1 ms so, against 16 to 30 ms by the client's create_run, log_batch and set_terminated.
Ids are ours, so whatever is written twice is there once.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from reports.io.safe_paths import create, refuse_database_links, set_aside
from studies.spec.tracking_detail import Detail
from studies.tracking import sqlite
from studies.tracking.bulk_rows import POSTGRESQL, SQLITE, Dialect
from studies.tracking.client import MlflowClientStore, quieten
from studies.tracking.experiment import (
    HELD,
    SEQUENCE,
    SHOWN,
    Experiment,
    ExperimentStore,
    Refused,
    Removed,
    metric_of,
    status_of,
    tags_of,
)
from studies.tracking.repairs import Execute, StoredCounts, counted, relocate, relocate_all, revive
from studies.tracking.report_artifacts import ARTIFACTS, artifacts_of, replace_report
from studies.tracking.runs import RunRecord, study_run_id
from studies.tracking.server import client_store
from studies.tracking.store import Store

if TYPE_CHECKING:
    from studies.execution.progress import StudyProgress
    from studies.ledger.ledger import StudyRow

log = logging.getLogger("groundrules.tracking")

DATABASE = "mlflow.db"
CLOSING = "UPDATE runs SET status = ?, start_time = ?, end_time = ? WHERE run_uuid = ? AND status = 'RUNNING'"
MARKING = (
    "INSERT INTO experiment_tags (experiment_id, key, value) VALUES (?, ?, ?)"
    " ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value"
)
PATIENCE = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "options": "-c statement_timeout=60000",
    "application_name": "groundrules",
}
"""What a connection to PostgreSQL waits at most (s; ms; ms), where its address does not say otherwise."""
LONGEST_ADDRESS = 200
"""Characters of a run's artifact address that MLflow's tables hold; only PostgreSQL insists."""
MAKING = 0x67726D6C
"""The advisory lock under which MLflow's tables are made."""


def database_uri(workspace: Path) -> str:
    """What to pass to `mlflow.set_tracking_uri` to read a workspace's runs."""
    return f"sqlite:///{(workspace / DATABASE).resolve()}"


def postgresql_uri(address: str) -> str:
    """The same of a database on a PostgreSQL server, for MLflow, with bounded waits."""
    parts = urlsplit(address)
    query = urlencode({**PATIENCE, **dict(parse_qsl(parts.query))})
    return urlunsplit(parts._replace(scheme="postgresql+psycopg", query=query))


class Tables(Protocol):
    """A connection to MLflow's tables."""

    def begin(self) -> AbstractContextManager[Execute]:
        """A transaction; it gives what runs a statement with a row of values, or with a list of rows."""

    def close(self) -> None:
        """Gives the connection back."""


class _EngineTables:
    """`Tables` by SQLAlchemy's engine, as MLflow has set it up."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    @contextmanager
    def begin(self) -> Iterator[Execute]:
        with self._engine.begin() as connection:
            yield lambda sql, values=(): connection.exec_driver_sql(sql, values)

    def close(self) -> None:
        self._engine.dispose()


class DatabaseStore:
    """MLflow's tables of one study, with bulk writing that may be repeated."""

    batch = 500
    """Members in one transaction."""

    def __init__(
        self,
        books: ExperimentStore,
        tables: Tables,
        row: StudyRow,
        location: str,
        dialect: Dialect,
        *,
        shared: bool,
    ) -> None:
        self._books = books
        self._tables = tables
        self._dialect = dialect
        self._name = row.name
        self._study = study_run_id(row.name)
        self._experiment = Experiment(books, row, location=location, shared=shared)
        self._location = location
        if shared:
            self._refuse_moved()
        self._held = self._repaired(row.name)
        """What is there, as far as this process knows."""

    @contextmanager
    def _begin(self) -> Iterator[Execute]:
        """A transaction; values stand as ? whatever the database."""
        with self._tables.begin() as execute:
            yield lambda sql, values=(): execute(self._dialect.sql(sql), values)

    def _repaired(self, study: str) -> StoredCounts:
        """What is there once deleted runs are back and artifacts are where they belong."""
        number, old = int(self._experiment.id), self._experiment.location
        with self._begin() as execute:
            revive(execute, number, study, self._study)
            if old != self._location:
                relocate(execute, number, self._location)
            return counted(execute, number, self._study)

    def _refuse_moved(self) -> None:
        """A renamed experiment keeps the runs whose ids this study would write again."""
        with self._begin() as execute:
            asked = "SELECT experiment_id FROM runs WHERE run_uuid = ?"
            found = execute(asked, (self._study,)).fetchone()
        if found is not None and str(found[0]) != self._experiment.id:
            raise Refused(
                f"MLflow's experiment {found[0]} holds runs of a study of this name; rename the study"
            )

    def sequence(self, detail: Detail) -> int:
        noted = StoredCounts.of(self._experiment.tags.get(HELD, ""))
        return self._experiment.sequence(detail) if self._held.covers(noted) else 0

    def whole(self) -> bool:
        with self._begin() as execute:
            return self._stands(execute) and counted(execute, int(self._experiment.id), self._study).covers(
                self._held
            )

    def _stands(self, execute: Execute) -> bool:
        """Whether the experiment is still there, and not deleted."""
        asked = "SELECT lifecycle_stage FROM experiments WHERE experiment_id = ?"
        row = execute(asked, (int(self._experiment.id),)).fetchone()
        return row is not None and row[0] == "active"

    def ended(self) -> bool:
        return self._experiment.ended(self._study)

    def write(self, runs: Iterable[RunRecord], *, mark: tuple[int, Detail] | None = None) -> None:
        runs = list(runs)
        points = [(run.id, point) for run in runs for point in run.metrics]
        latest = {(id_, p.key): (id_, p) for id_, p in sorted(points, key=lambda pair: pair[1].step)}
        rows = {
            "runs": [self._row(run) for run in runs],
            "tags": [(run.id, key, value) for run in runs for key, value in tags_of(run, run.parent).items()],
            "params": [(run.id, key, value) for run in runs for key, value in run.params.items()],
            "metrics": [metric_of(*pair) for pair in points],
            "latest_metrics": [metric_of(*pair) for pair in latest.values()],
        }
        closed = [(status_of(r), r.start_ms, r.end_ms, r.id) for r in runs if r.opens and not r.running]
        with self._begin() as execute:
            if not self._stands(execute):
                raise Removed(f"its experiment '{self._name}' was deleted meanwhile")
            added = self._dialect.insert(execute, rows)
            held = StoredCounts(self._held.runs + added["runs"], self._held.metrics + added["metrics"])
            if closed:
                execute(CLOSING, closed)
            marks = [] if mark is None else [(SEQUENCE, str(mark[0])), (SHOWN, mark[1]), (HELD, held.text())]
            for key, value in marks:
                execute(MARKING, (int(self._experiment.id), key, value))
        self._held = held

    def _row(self, run: RunRecord) -> tuple[Any, ...]:
        return (
            run.id,
            run.name,
            "groundrules",
            status_of(run),
            run.start_ms,
            run.end_ms,
            "active",
            artifacts_of(self._location, run.id),
            int(self._experiment.id),
            "LOCAL",
            "groundrules",
            "",
            "",
        )

    def log_datasets(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        self._experiment.log_datasets(self._study, tasks)

    def progress(self, standing: StudyProgress, *, last: bool, answer: str) -> None:
        self._experiment.progress(self._study, standing, last=last, answer=answer)

    def put_report(self, folder: Path) -> None:
        replace_report(folder, f"{self._books.artifacts(self._study)}/report")

    def settle(self, *, failed: bool) -> None:
        """Nothing to be done: what was written twice is there once."""

    def close(self) -> None:
        self._tables.close()


def sqlite_store(workspace: Path, row: StudyRow, location: str) -> Store:
    """The store in a workspace; its file is made where missing. MLflow is loaded only if it must be.

    A damaged file is set aside, and the study comes into a new one.
    """
    database, tables = workspace / DATABASE, sqlite.sqlite_tables()
    refuse_database_links(database)
    if database.exists() and (reason := sqlite.damage(database)):
        aside = set_aside(database, "damaged")
        log.warning(
            "%s was damaged (%s) and is now %s; '%s' is written anew from the ledger, other studies by "
            "`groundrules report STUDY`", database, reason, aside.name, row.name,
        )  # fmt: skip
    if not database.exists():
        with tempfile.TemporaryDirectory() as elsewhere:
            made = Path(elsewhere) / DATABASE
            if tables is None:
                _opened(made, location).engine.dispose()
            else:
                sqlite.make(made, tables, _above(location))
            with suppress(FileExistsError):  # another run has just made one: that is as good
                create(database, made.read_bytes())
    there = sqlite.revision(database)
    if tables is not None and there in sqlite.SEEN and sqlite.fits(there, tables):
        own = sqlite.SqliteTables(database)
        if _by_calls(own, SQLITE, row.name):
            own.close()
            return client_store(_opened(database, location), row, location, shared=False)
        _relocate_others(own, row.name, workspace)
        return DatabaseStore(sqlite.SqliteExperimentStore(own), own, row, location, SQLITE, shared=False)
    store = _opened(database, location)
    theirs = _EngineTables(store.engine)
    if sqlite.revision(database) not in sqlite.SEEN or _by_calls(theirs, SQLITE, row.name):
        return client_store(store, row, location, shared=False)
    _relocate_others(theirs, row.name, workspace)
    return DatabaseStore(MlflowClientStore(store), theirs, row, location, SQLITE, shared=False)


def _by_calls(tables: Tables, dialect: Dialect, study: str) -> bool:
    """Whether the study was begun by MLflow's own calls, whose runs have other ids than ours would."""
    asked = (
        "SELECT 1 FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid JOIN experiments e"
        " ON e.experiment_id = r.experiment_id WHERE t.key = 'groundrules.id' AND e.name = ? LIMIT 1"
    )
    with tables.begin() as execute:
        return execute(dialect.sql(asked), (study,)).fetchone() is not None


def _relocate_others(tables: Tables, study: str, workspace: Path) -> None:
    """Where a workspace was moved, the artifacts of all of its studies moved with it."""
    here = (workspace.resolve() / ARTIFACTS).as_uri()
    with tables.begin() as execute:
        row = execute("SELECT artifact_location FROM experiments WHERE name = ?", (study,)).fetchone()
        above = _above(str(row[0])) if row else here
        if above != here and above.endswith(f"/{ARTIFACTS}"):
            relocate_all(execute, above, here)


def _opened(database: Path, location: str) -> Any:
    """MLflow's own store of such a file."""
    quieten()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(database_uri(database.parent), _above(location))


def postgresql_store(address: str, row: StudyRow, location: str) -> Store:
    """The store in a database that others use too; its tables are made where the database is empty.

    Args:
        address: postgresql://..., with its password.
        row: the study.
        location: of the artifacts of a new experiment.

    Raises:
        Refused: the tables are of another version of MLflow, or the experiment is somebody else's; or the
            artifacts' address is too long for them.
    """
    quieten()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    longest = LONGEST_ADDRESS - len(artifacts_of("", study_run_id(row.name)))
    if len(location) > longest:
        raise Refused(
            f"artifacts: {location} has {len(location)} characters; MLflow's tables in PostgreSQL hold "
            f"{longest}: shorten the site's `artifacts` or the study's name"
        )
    with _tables(address, make=True) as revision:
        store = SqlAlchemyStore(postgresql_uri(address), _above(location))
    tables = _EngineTables(store.engine)
    if revision not in sqlite.SEEN or _by_calls(tables, POSTGRESQL, row.name):
        return client_store(store, row, location, shared=True)
    return DatabaseStore(MlflowClientStore(store), tables, row, location, POSTGRESQL, shared=True)


def _above(location: str) -> str:
    """Where experiments of others go by default, beside this one's artifacts."""
    return location.rpartition("/")[0]


def refuse_unready(address: str, *, empty_is_fine: bool = False) -> None:
    """ValueError unless a PostgreSQL database holds MLflow's tables of our version; changes nothing.

    Args:
        address: of the database, with its password.
        empty_is_fine: one without any tables is as good; the first study makes them.
    """
    try:
        with _tables(address, make=empty_is_fine):
            pass
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - SQLAlchemy has a dozen kinds, behind no door of ours
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"the tracking database does not answer ({reason})") from None


@contextmanager
def _tables(address: str, *, make: bool) -> Iterator[str]:
    """Holds the right to make MLflow's tables; those that are there are of our version: its revision.

    MLflow's own guard is a lock file, which two machines do not share, and its migrations fail when two
    start at once. Its connecting also repeats for minutes where nobody listens; this asks once.
    """
    quieten()
    from mlflow.store.db.utils import (
        _get_latest_schema_revision,
        _get_schema_version,
        create_sqlalchemy_engine,
    )

    if find_spec("psycopg") is None:
        raise Refused("MLflow in PostgreSQL needs psycopg: pip install 'groundrules[scaleout]'")
    engine = create_sqlalchemy_engine(postgresql_uri(address))
    try:
        with engine.connect() as holding:
            holding.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (MAKING,))
            found, ours = _get_schema_version(engine), _get_latest_schema_revision()
            if found is None and not make:
                raise Refused("the tracking database has no tables of MLflow's yet; run a study first")
            if found is not None and found != ours:
                raise Refused(
                    f"the tracking database has MLflow's schema {found}, the MLflow here needs {ours}; "
                    "use the same version of MLflow on both sides, or have the database's operator run "
                    "`mlflow db upgrade`"
                )
            yield str(ours)
    finally:
        engine.dispose()
