"""Writes runs in bulk into MLflow's own tables, in SQLite or PostgreSQL.

A member takes about 1 ms so, against 16 to 30 ms by the client's create_run, log_batch and set_terminated.
Ids are ours, so whatever is written twice is there once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from studies.mirroring import mlflow_sqlite
from studies.mirroring.detail import Detail
from studies.mirroring.mlflow_books import MlflowBooks, quieten
from studies.mirroring.mlflow_experiment import (
    SEQUENCE,
    SHOWN,
    Books,
    Experiment,
    Refused,
    metric_of,
    status_of,
    tags_of,
)
from studies.mirroring.report_copies import artifacts_of, replace_report
from studies.mirroring.runs import Run, study_run_id

if TYPE_CHECKING:
    from studies.ledger import StudyRow
    from studies.training.progress import Standing

DATABASE = "mlflow.db"
CACHE_KB = 64_000
"""What SQLite may keep of MLflow's database in memory; its 2 MB are too few for the indices of 1,000 runs."""
COLUMNS = {
    "runs": (
        "run_uuid", "name", "user_id", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri",
        "experiment_id", "source_type", "source_name", "source_version", "entry_point_name",
    ),
    "tags": ("run_uuid", "key", "value"),
    "params": ("run_uuid", "key", "value"),
    "metrics": ("run_uuid", "key", "value", "is_nan", "timestamp", "step"),
    "latest_metrics": ("run_uuid", "key", "value", "is_nan", "timestamp", "step"),
}  # fmt: skip
"""MLflow's tables, in the order in which rows refer to each other."""
TYPES = {
    **dict.fromkeys(("start_time", "end_time", "timestamp", "step"), "bigint"),
    "experiment_id": "integer",
    "is_nan": "boolean",
}
"""PostgreSQL's of the columns that are no text; a metric's value is a double."""
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

Rows = Mapping[str, Sequence[tuple[Any, ...]]]


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

    def begin(self) -> AbstractContextManager[mlflow_sqlite.Execute]:
        """A transaction; it gives what runs a statement with a row of values, or with a list of rows."""

    def close(self) -> None:
        """Gives the connection back."""


class _EngineTables:
    """`Tables` by SQLAlchemy's engine, as MLflow has set it up."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    @contextmanager
    def begin(self) -> Iterator[mlflow_sqlite.Execute]:
        with self._engine.begin() as connection:
            yield lambda sql, values=(): connection.exec_driver_sql(sql, values)

    def close(self) -> None:
        self._engine.dispose()


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    """Where the two databases differ."""

    placeholder: str
    insert: Callable[[mlflow_sqlite.Execute, Rows], None]
    """Adds rows to tables, leaving what is there."""

    def sql(self, text: str) -> str:
        return text.replace("?", self.placeholder)


class DatabaseStore:
    """MLflow's tables of one study, with bulk writing that may be repeated."""

    batch = 500
    """Members in one transaction."""

    def __init__(
        self, books: Books, tables: Tables, row: StudyRow, location: str, dialect: _Dialect, *, shared: bool
    ) -> None:
        self._books = books
        self._tables = tables
        self._dialect = dialect
        self._study = study_run_id(row.name)
        self._experiment = Experiment(books, row, location=location, shared=shared)
        self._location = self._experiment.location if shared else location
        if shared:
            self._refuse_moved()

    def _refuse_moved(self) -> None:
        """A renamed experiment keeps the runs whose ids this study would write again."""
        with self._tables.begin() as execute:
            asked = self._dialect.sql("SELECT experiment_id FROM runs WHERE run_uuid = ?")
            found = execute(asked, (self._study,)).fetchone()
        if found is not None and str(found[0]) != self._experiment.id:
            raise Refused(
                f"MLflow's experiment {found[0]} holds runs of a study of this name; rename the study"
            )

    def sequence(self, detail: Detail) -> int:
        return self._experiment.sequence(detail)

    def ended(self) -> bool:
        return self._experiment.ended(self._study)

    def write(self, runs: Iterable[Run], *, mark: tuple[int, Detail] | None = None) -> None:
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
        marks = [] if mark is None else [(SEQUENCE, str(mark[0])), (SHOWN, mark[1])]
        with self._tables.begin() as execute:
            self._dialect.insert(execute, rows)
            if closed:
                execute(self._dialect.sql(CLOSING), closed)
            for key, value in marks:
                execute(self._dialect.sql(MARKING), (int(self._experiment.id), key, value))

    def _row(self, run: Run) -> tuple[Any, ...]:
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

    def progress(self, standing: Standing, *, last: bool, answer: str) -> None:
        self._experiment.progress(self._study, standing, last=last, answer=answer)

    def put_report(self, folder: Path) -> None:
        replace_report(folder, f"{self._books.artifacts(self._study)}/report")

    def settle(self, *, failed: bool) -> None:
        """Nothing to be done: what was written twice is there once."""

    def close(self) -> None:
        self._tables.close()


def sqlite_store(workspace: Path, row: StudyRow, location: str) -> DatabaseStore:
    """The store in a workspace; its file is made where missing. MLflow is loaded only if it must be."""
    database, tables = workspace / DATABASE, mlflow_sqlite.tables_here()
    if not database.exists():
        with tempfile.TemporaryDirectory() as elsewhere:
            made = Path(elsewhere) / DATABASE
            if tables is None:
                _opened(made, location).engine.dispose()
            else:
                mlflow_sqlite.make(made, tables, _above(location))
            _appear(made, database)
    with database.open("r+b") as file:  # MLflow would try for minutes before it says so
        if file.read(16) != b"SQLite format 3\0":
            raise OSError(f"{database} is not an SQLite database")
    dialect = _Dialect(placeholder="?", insert=_into_sqlite)
    if tables is not None and mlflow_sqlite.fits(database, tables):
        own = mlflow_sqlite.SqliteTables(database)
        return DatabaseStore(mlflow_sqlite.SqliteBooks(own), own, row, location, dialect, shared=False)
    store = _opened(database, location)
    theirs = _EngineTables(store.engine)
    return DatabaseStore(MlflowBooks(store), theirs, row, location, dialect, shared=False)


def _opened(database: Path, location: str) -> Any:
    """MLflow's own store of such a file."""
    quieten()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(database_uri(database.parent), _above(location))


def postgresql_store(address: str, row: StudyRow, location: str) -> DatabaseStore:
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
    with _tables(address, make=True):
        store = SqlAlchemyStore(postgresql_uri(address), _above(location))
    dialect = _Dialect(placeholder="%s", insert=_into_postgresql)
    tables = _EngineTables(store.engine)
    return DatabaseStore(MlflowBooks(store), tables, row, location, dialect, shared=True)


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
def _tables(address: str, *, make: bool) -> Iterator[None]:
    """Holds the right to make MLflow's tables; those that are there are of our version.

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
            yield
    finally:
        engine.dispose()


def _into_sqlite(execute: mlflow_sqlite.Execute, rows: Rows) -> None:
    execute(f"PRAGMA cache_size = -{CACHE_KB}")
    # As text: SQLAlchemy takes longer to prepare 80 rows of one member than SQLite to insert them.
    for table, values in rows.items():
        if values:
            names, marks = ", ".join(COLUMNS[table]), ", ".join("?" * len(COLUMNS[table]))
            execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", values)


def _into_postgresql(execute: mlflow_sqlite.Execute, rows: Rows) -> None:
    """A column an array: one statement for each table, whatever the number of rows."""
    for table, values in rows.items():
        if not values:
            continue
        names = COLUMNS[table]
        number = "double precision" if "metrics" in table else "text"
        types = [TYPES.get(name, number if name == "value" else "text") for name in names]
        columns = [_storable(column) for column in zip(*values, strict=True)]
        arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
        execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING",
            tuple(columns),
        )


def _storable(column: Sequence[Any]) -> list[Any]:
    """PostgreSQL's text has no NUL, which the message of an error may."""
    return [value.replace("\0", " ") if isinstance(value, str) else value for value in column]


def _appear(made: Path, place: Path) -> None:
    """Puts a file into its place whole: a kill while MLflow makes its tables would spoil the store."""
    near = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.copyfile(made, near)
    with suppress(FileExistsError):  # another run has just made one: that is as good
        os.link(near, place)
    near.unlink()
