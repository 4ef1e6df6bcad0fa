"""Removes a study's experiment from a tracking store for good, or the runs of its members.

In a database, rows go by its own foreign keys, whatever version of MLflow made the tables. An MLflow server
keeps what it deleted until its operator runs `mlflow gc`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from studies.site import Site, site_of
from studies.tracking.bulk_rows import POSTGRESQL
from studies.tracking.client import quieten
from studies.tracking.database import DATABASE, postgresql_uri
from studies.tracking.experiment import HELD, OWNER
from studies.tracking.repairs import Execute, counted
from studies.tracking.runs import study_run_id
from studies.tracking.server import WAITS, credentials
from studies.tracking.sqlite import SqliteTables

DOOMED = "groundrules_doomed"
"""A temporary table: the ids of the runs that are removed."""
UNDECLARED = (
    ("inputs", ("source_id",), "datasets", ("dataset_uuid",)),
    ("inputs", ("destination_id",), "runs", ("run_uuid",)),
    ("input_tags", ("input_uuid",), "inputs", ("input_uuid",)),
)
"""References between MLflow's tables that are no foreign keys."""
ON_SQLITE = """
SELECT m.name, f.id, f."from", f."table", f."to", f.on_delete = 'SET NULL'
FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'
ORDER BY m.name, f.id, f.seq
"""
ON_POSTGRESQL = """
SELECT o.relname, c.oid, a.attname, r.relname, b.attname, c.confdeltype = 'n'
FROM pg_constraint c JOIN pg_class o ON o.oid = c.conrelid JOIN pg_class r ON r.oid = c.confrelid
CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (own, other, n)
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.own
JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.other
WHERE c.contype = 'f' AND pg_table_is_visible(o.oid) ORDER BY o.relname, c.oid, k.n
"""
LISTED_ON_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'table'"
LISTED_ON_POSTGRESQL = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"


class Reference(NamedTuple):
    """One foreign key."""

    table: str
    columns: tuple[str, ...]
    other: str
    """The table referred to,"""
    others: tuple[str, ...]
    """and its columns, in the order of `columns`."""
    cleared: bool = False
    """Whether the columns are set to NULL where the other row goes, and the row stays."""


class StoreTables(NamedTuple):
    """MLflow's tables within one transaction."""

    execute: Execute
    """Runs a statement with ? for values."""
    references: str
    """The query for foreign keys: table, key, column, other table, its column, whether it is cleared."""
    listed: str
    """The query for the names of all tables."""


def remove_experiment(workspace: Path, study: str, owner: str) -> str:
    """Removes the study's experiment with its runs; nothing where there is none.

    Args:
        workspace: of the study.
        study: its name.
        owner: as `studies.tracking.experiment.owner` gives it; a shared store may hold another study of
            this name.

    Returns:
        What a user should know of it; '' where everything is gone.

    Raises:
        ValueError: the store does not answer, or is locked.
    """
    site = site_of(workspace)
    if site.tracking.startswith("http"):
        return _delete_on_server(site, owner)
    with _transaction(site, workspace) as store:
        if store is None or (experiment := _experiment(store, study)) is None:
            return ""
        if site.tracking and _tag(store, experiment, OWNER) != owner:
            return f"MLflow's experiment '{study}' belongs to another ledger, and stays"
        _remove(store, "experiments", f"experiment_id = {experiment}")
    return ""


def remove_members(workspace: Path, study: str) -> str:
    """Removes the runs of the study's members; its own run and those of its cells stay.

    What is left is noted as all that there was, so that nobody takes the members for lost and writes them
    again; a run with more `tracking` than before does.

    Returns:
        What a user should know of it; '' where the runs are gone.

    Raises:
        ValueError: the store does not answer, or is locked.
    """
    site = site_of(workspace)
    if site.tracking.startswith("http"):
        return "MLflow's server keeps its runs; only its operator can remove them"
    with _transaction(site, workspace) as store:
        if store is None or (experiment := _experiment(store, study)) is None:
            return ""
        execute = store.execute
        members = "SELECT run_uuid FROM tags WHERE key = 'groundrules.kind' AND value = 'member'"
        chosen = f"experiment_id = {experiment} AND run_uuid IN ({members})"
        # Their tags, by which they are chosen, go before them.
        execute(f"CREATE TEMPORARY TABLE {DOOMED} AS SELECT run_uuid FROM runs WHERE {chosen}")
        _remove(store, "runs", f"run_uuid IN (SELECT run_uuid FROM {DOOMED})")
        execute(f"DROP TABLE {DOOMED}")
        left = counted(execute, experiment, study_run_id(study))
        # Where MLflow's own calls wrote the runs, their number alone is noted.
        by_calls = len(_tag(store, experiment, HELD).split()) == 1
        held = str(left.runs) if by_calls else left.text()
        noting = "UPDATE experiment_tags SET value = ? WHERE experiment_id = ? AND key = ?"
        execute(noting, (held, experiment, HELD))
    return ""


@contextmanager
def _transaction(site: Site, workspace: Path) -> Iterator[StoreTables | None]:
    """The tables of the site's database; None where there is no store yet."""
    if not site.tracking:
        file = Path(workspace) / DATABASE
        if not file.is_file():
            yield None
            return
        with closing(SqliteTables(file)) as tables, tables.begin() as execute:
            yield StoreTables(execute, ON_SQLITE, LISTED_ON_SQLITE)
        return
    quieten()
    from mlflow.store.db.utils import create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(postgresql_uri(site.tracking_address))
    try:
        with engine.begin() as connection:

            def run(sql: str, values: Sequence[Any] = ()) -> Any:
                return connection.exec_driver_sql(POSTGRESQL.sql(sql), tuple(values))

            yield StoreTables(run, ON_POSTGRESQL, LISTED_ON_POSTGRESQL)
    finally:
        engine.dispose()


def _experiment(store: StoreTables, study: str) -> int | None:
    if ("experiments",) not in [tuple(row) for row in store.execute(store.listed).fetchall()]:
        return None
    row = store.execute("SELECT experiment_id FROM experiments WHERE name = ?", (study,)).fetchone()
    return None if row is None else int(row[0])


def _tag(store: StoreTables, experiment: int, key: str) -> str:
    sql = "SELECT value FROM experiment_tags WHERE experiment_id = ? AND key = ?"
    row = store.execute(sql, (experiment, key)).fetchone()
    return "" if row is None else str(row[0])


def _remove(store: StoreTables, root: str, condition: str) -> None:
    """Removes rows of one table, after all rows that refer to them, directly or not.

    Args:
        store: the tables.
        root: the table,
        condition: and which of its rows, as SQL.
    """
    references = _references(store)
    conditions = {root: condition}
    parents = {r.table: {s.other for s in references if s.table == r.table} for r in references}
    order = list(TopologicalSorter(parents).static_order())
    for table in order:
        to = [r for r in references if r.table == table and r.other in conditions and not r.cleared]
        if to and table != root:
            conditions[table] = " OR ".join(_refers(r, conditions[r.other]) for r in to)
    for r in references:
        if r.cleared and r.other in conditions and r.table not in conditions:
            nulls = ", ".join(f"{column} = NULL" for column in r.columns)
            store.execute(f"UPDATE {r.table} SET {nulls} WHERE {_refers(r, conditions[r.other])}")
    for table in reversed(order):
        if table in conditions:
            store.execute(f"DELETE FROM {table} WHERE {conditions[table]}")


def _refers(reference: Reference, condition: str) -> str:
    """SQL: whether a row refers to one that goes."""
    return (
        f"({', '.join(reference.columns)}) IN"
        f" (SELECT {', '.join(reference.others)} FROM {reference.other} WHERE {condition})"
    )


def _references(store: StoreTables) -> list[Reference]:
    keys: dict[tuple[str, Any], list[Sequence[Any]]] = defaultdict(list)
    for row in store.execute(store.references).fetchall():
        keys[row[0], row[1]].append(row)
    found = [
        Reference(table, tuple(r[2] for r in key), key[0][3], tuple(r[4] for r in key), bool(key[0][5]))
        for (table, _), key in keys.items()
        if table != key[0][3]
    ]
    tables = {str(row[0]) for row in store.execute(store.listed).fetchall()}
    return found + [Reference(*one) for one in UNDECLARED if {one[0], one[2]} <= tables]


def _delete_on_server(site: Site, owner: str) -> str:
    """Deletes the experiment under another name, so that a new study may take its own.

    Found by the tag that says whose it is, so that a repetition after a kill finds it under either name.
    """
    quieten()
    os.environ.update(WAITS)
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.rest_store import RestStore

    asked = credentials(site)
    store: Any = RestStore(lambda: asked)
    try:
        ours = store.search_experiments(ViewType.ACTIVE_ONLY, 10, f"tags.`{OWNER}` = '{owner}'")
        for experiment in ours:
            number = experiment.experiment_id
            if not experiment.name.endswith(f"(deleted {number})"):
                store.rename_experiment(number, f"{experiment.name} (deleted {number})")
            store.delete_experiment(number)
    except MlflowException as error:
        raise ValueError(f"MLflow's server does not answer ({str(error)[:200]})") from None
    numbers = ",".join(str(experiment.experiment_id) for experiment in ours)
    return (
        f"MLflow's server keeps what it deleted until `mlflow gc --experiment-ids {numbers}`" if ours else ""
    )
