"""MLflow's tables in a workspace's own file, without MLflow: loading it takes 5 s of CPU.

That is more than all that a small study writes. So the tables that the version we test makes are kept here as
SQL; where another version is installed, or has made the file, MLflow itself opens it
(`studies.tracking.database`).
"""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reports.io.safe_paths import refuse_database_links
from studies.tracking.experiment import HELD, StoredExperiment, StudyState, data_set, metric_of
from studies.tracking.repairs import Execute, StoredCounts, counted
from studies.tracking.runs import MetricPoint

BUSY_SECONDS = 20.0
"""How long a statement waits for another writer."""
SEEN = frozenset(("dc11669786a5",))
"""Revisions of MLflow's tables that we write into directly: those that the tests have seen."""
REVISION = re.compile(r"INSERT INTO alembic_version VALUES\('(\w+)'\)")
DEFAULT = "INSERT INTO experiments VALUES (0, 'Default', ?, 'active', ?, ?, 'default')"
"""The experiment that MLflow's pages expect; nothing of ours is in it."""
EXPERIMENT = (
    "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
    " VALUES (?, ?, 'active', ?, ?) ON CONFLICT (workspace, name) DO NOTHING"
)
EXPERIMENT_TAG = (
    "INSERT INTO experiment_tags (experiment_id, key, value) VALUES (?, ?, ?)"
    " ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value"
)
METRIC = (
    "INSERT INTO metrics (run_uuid, key, value, is_nan, timestamp, step) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key, timestamp, step, run_uuid, value, is_nan) DO NOTHING"
)
LATEST = (
    "INSERT INTO latest_metrics (run_uuid, key, value, is_nan, timestamp, step) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, is_nan = excluded.is_nan,"
    " timestamp = excluded.timestamp, step = excluded.step"
)
TAG = (
    "INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)"
    " ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)
DATA_SET = (
    "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type,"
    " dataset_source, dataset_profile) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (experiment_id, name, digest) DO NOTHING"
)
INPUT = (
    "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)"
    " VALUES (?, 'DATASET', ?, 'RUN', ?)"
    " ON CONFLICT (source_type, source_id, destination_type, destination_id) DO NOTHING"
)
INPUT_TAG = (
    "INSERT INTO input_tags (input_uuid, name, value) VALUES (?, 'mlflow.data.context', 'training')"
    " ON CONFLICT (input_uuid, name) DO NOTHING"
)


def sqlite_tables() -> str | None:
    """The tables of the installed MLflow as SQL; None where we keep none of that version."""
    try:
        file = Path(__file__).parent / "tables" / f"mlflow-{version('mlflow')}.sql"
    except PackageNotFoundError:
        return None
    return file.read_text(encoding="utf-8") if file.is_file() else None


def make(file: Path, tables: str, artifacts: str) -> None:
    """A new file with these tables; experiments of others have their artifacts below `artifacts`."""
    now = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.executescript(f"BEGIN;\n{tables}\nCOMMIT;")
        connection.execute(DEFAULT, (f"{artifacts}/0", now, now))


def fits(revision: str, tables: str) -> bool:
    """Whether these tables are of that revision."""
    ours = REVISION.search(tables)
    assert ours is not None
    return revision == ours[1]


def revision(file: Path) -> str:
    """Of the tables in a file; '' where there are none, or it is locked: MLflow itself will see."""
    with closing(_to_read(file)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.OperationalError:
            return ""
    return str(found[0][0]) if len(found) == 1 else ""


def damage(file: Path) -> str:
    """Why a file is no database that can be gone on with; '' where it is one, or cannot be looked at now."""
    refuse_database_links(file)
    if not file.exists():
        return "it is missing"
    if not file.stat().st_size:
        return "it is empty"
    try:
        address = f"{file.absolute().as_uri()}?mode=rw"  # not to read only: a killed writer's rest is undone
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
            complaints = [str(line) for (line,) in connection.execute("PRAGMA quick_check(1)")]
    except sqlite3.DatabaseError as error:
        damaged = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        return str(error) if getattr(error, "sqlite_errorcode", 0) & 0xFF in damaged else ""
    return "" if complaints == ["ok"] else " ".join(" ".join(complaints).split())[:200]


def whole(file: Path, study: str, study_run: str, location: str) -> bool:
    """Whether a study's experiment has all that was written into it, at the place where it belongs."""
    try:
        with closing(_to_read(file)) as connection:
            asked = "SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments WHERE name = ?"
            ((experiment, place, stage),) = connection.execute(asked, (study,)).fetchall()
            noted = "SELECT value FROM experiment_tags WHERE experiment_id = ? AND key = ?"
            ((held,),) = connection.execute(noted, (experiment, HELD)).fetchall()
            now = counted(connection.execute, experiment, study_run)
    except (sqlite3.Error, ValueError):
        return False
    return (stage, place) == ("active", location) and now.covers(StoredCounts.of(held))


def _to_read(file: Path) -> sqlite3.Connection:
    refuse_database_links(file)
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


class SqliteTables:
    """One connection, used by the thread that opened it."""

    def __init__(self, file: Path) -> None:
        refuse_database_links(file)
        self._file = file
        self._connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        self._inode = file.stat().st_ino

    @contextmanager
    def begin(self) -> Iterator[Execute]:
        """A transaction: all of it, or on an exception nothing."""
        connection = self._connection

        def execute(sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
            run = connection.executemany if isinstance(values, list) else connection.execute
            return run(sql, values)

        if self._file.stat().st_ino != self._inode:  # what is written into a removed file is lost
            raise OSError(f"{self._file} was replaced while it was written")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield execute
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    def close(self) -> None:
        """Gives the file back."""
        self._connection.close()


class SqliteExperimentStore:
    """`studies.tracking.experiment.ExperimentStore` of these tables."""

    def __init__(self, tables: SqliteTables) -> None:
        self._tables = tables

    def find(self, name: str) -> StoredExperiment | None:
        with self._tables.begin() as execute:
            asked = "SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments WHERE name = ?"
            row = execute(asked, (name,)).fetchone()
            if row is None:
                return None
            tags = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
            return StoredExperiment(
                id=str(row[0]),
                location=str(row[1]),
                active=row[2] == "active",
                tags=dict(execute(tags, (row[0],)).fetchall()),
            )

    def make(self, name: str, location: str | None, tags: Mapping[str, str]) -> None:
        now = time.time_ns() // 1_000_000
        with self._tables.begin() as execute:
            execute(EXPERIMENT, (name, location, now, now))
            ((made,),) = execute("SELECT experiment_id FROM experiments WHERE name = ?", (name,)).fetchall()
            execute(EXPERIMENT_TAG, [(made, key, value) for key, value in tags.items()])

    def restore(self, experiment: str) -> None:
        now = time.time_ns() // 1_000_000
        with self._tables.begin() as execute:
            back = "UPDATE experiments SET lifecycle_stage = 'active', last_update_time = ?"
            execute(f"{back} WHERE experiment_id = ?", (now, experiment))
            runs = "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE experiment_id = ?"
            execute(runs, (experiment,))

    def tag(self, experiment: str, key: str, value: str) -> None:
        with self._tables.begin() as execute:
            execute(EXPERIMENT_TAG, (experiment, key, value))

    def log_datasets(self, experiment: str, run: str, facts: Sequence[Mapping[str, Any]]) -> None:
        known = "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?"
        link = "SELECT input_uuid FROM inputs WHERE source_id = ? AND destination_id = ?"
        with self._tables.begin() as execute:
            for said in map(data_set, facts):
                execute(DATA_SET, (uuid.uuid4().hex, experiment, *said.values()))
                ((data,),) = execute(known, (experiment, said["name"], said["digest"])).fetchall()
                execute(INPUT, (uuid.uuid4().hex, data, run))
                ((linked,),) = execute(link, (data, run)).fetchall()
                execute(INPUT_TAG, (linked,))

    def note(self, run: str, state: StudyState) -> None:
        points = [
            MetricPoint(key=key, value=v, ms=state.now_ms, step=state.step)
            for key, v in state.metrics.items()
        ]
        rows = [metric_of(run, point) for point in points]
        with self._tables.begin() as execute:
            execute(METRIC, rows)
            execute(LATEST, rows)
            tags = [(run, key, value) for key, value in state.tags.items()]
            execute(TAG, tags)
            execute("UPDATE runs SET status = ? WHERE run_uuid = ?", (state.status, run))
            if state.ended:
                execute("UPDATE runs SET end_time = ? WHERE run_uuid = ?", (state.now_ms, run))

    def status(self, run: str) -> str:
        return self._of_run("status", run)

    def artifacts(self, run: str) -> str:
        return self._of_run("artifact_uri", run)

    def _of_run(self, column: str, run: str) -> str:
        with self._tables.begin() as execute:
            ((found,),) = execute(f"SELECT {column} FROM runs WHERE run_uuid = ?", (run,)).fetchall()
            return str(found)
