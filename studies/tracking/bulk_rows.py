"""Rows for MLflow's tables, many in one statement, in SQLite or PostgreSQL; what is there already stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.tracking.repairs import Execute

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
KEYS = {
    "runs": ("run_uuid",),
    "tags": ("key", "run_uuid"),
    "params": ("key", "run_uuid"),
    "metrics": ("key", "timestamp", "step", "run_uuid", "value", "is_nan"),
    "latest_metrics": ("key", "run_uuid"),
}
"""Their primary keys: a row that is there stays; any other conflict with the tables is an error."""

Rows = Mapping[str, Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Where the two databases differ."""

    placeholder: str
    insert: Callable[[Execute, Rows], Mapping[str, int]]
    """Adds rows to tables, leaving what is there; table -> how many are new."""

    def sql(self, text: str) -> str:
        return text.replace("?", self.placeholder)


def into_sqlite(execute: Execute, rows: Rows) -> dict[str, int]:
    """One statement for each table; table -> how many rows are new."""
    execute(f"PRAGMA cache_size = -{CACHE_KB}")
    # As text: SQLAlchemy takes longer to prepare 80 rows of one member than SQLite to insert them.
    added = dict.fromkeys(rows, 0)
    for table, values in rows.items():
        if values:
            names, marks = ", ".join(COLUMNS[table]), ", ".join("?" * len(COLUMNS[table]))
            sql = f"INSERT INTO {table} ({names}) VALUES ({marks}) {_unless_there(table)}"
            added[table] = max(0, execute(sql, values).rowcount)
    return added


def _unless_there(table: str) -> str:
    """Not `OR IGNORE`, which would also drop a row that lacks a value."""
    return f"ON CONFLICT ({', '.join(KEYS[table])}) DO NOTHING"


def into_postgresql(execute: Execute, rows: Rows) -> dict[str, int]:
    """A column an array: one statement for each table, whatever the number of rows."""
    added = dict.fromkeys(rows, 0)
    for table, values in rows.items():
        if not values:
            continue
        names = COLUMNS[table]
        number = "double precision" if "metrics" in table else "text"
        types = [TYPES.get(name, number if name == "value" else "text") for name in names]
        columns = [_storable(column) for column in zip(*values, strict=True)]
        arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
        sql = (
            f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({arrays}) {_unless_there(table)}"
        )
        added[table] = max(0, execute(sql, tuple(columns)).rowcount)
    return added


def _storable(column: Sequence[Any]) -> list[Any]:
    """PostgreSQL's text has no NUL, which the message of an error may."""
    return [value.replace("\0", " ") if isinstance(value, str) else value for value in column]


SQLITE = Dialect(placeholder="?", insert=into_sqlite)
POSTGRESQL = Dialect(placeholder="%s", insert=into_postgresql)
