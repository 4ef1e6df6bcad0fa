"""All rows that a ledger holds of one study: read as they are stored, removed, and put back.

Rows are plain sequences of columns, so that a study survives its archive to the byte: the hash of every
evaluation and the seal over all rows are checked before a restored study is committed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.ledger.contract import Database, LedgerDamaged, Row, T, Transaction
from studies.ledger.row_codec import COLUMNS, content_hash
from studies.ledger.schema import LATER
from studies.ledger.seal import (
    ATTEMPT,
    FROZEN,
    MARGIN,
    PACK,
    PLAN,
    STUDY,
    Link,
    StudyRows,
    links_of,
    seal_faults,
    study_rows,
)

BATCH = 1000
"""Rows written by one statement."""


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """One of the ledger's tables, as far as one study is concerned."""

    columns: Sequence[str]
    order: str
    """Columns by which the rows are read, so that they can be written again in the order they came."""
    whose: str = "study = ?"
    """SQL: which rows are the study's."""
    implied: bool = False
    """Whether the column `study` is left out of `columns`, because it is the same in every row."""


TABLES: Mapping[str, StudyTable] = {
    "studies": StudyTable(columns=STUDY, order="name", whose="name = ?"),
    "plans": StudyTable(columns=PLAN, order="revision", implied=True),
    "margins": StudyTable(columns=MARGIN, order="position", implied=True),
    "frozen": StudyTable(columns=FROZEN, order="rowid", implied=True),
    "packs": StudyTable(columns=PACK, order="committed_ms, id", implied=True),
    "hashes": StudyTable(
        columns=("slot", "hash"), order="slot", whose="slot IN (SELECT slot FROM evaluations WHERE study = ?)"
    ),
    "evaluations": StudyTable(columns=COLUMNS, order="sequence"),
    "attempts": StudyTable(columns=ATTEMPT, order="sequence", implied=True),
    "seals": StudyTable(
        columns=("position", "part", "place", "content", "chain"), order="position", implied=True
    ),
}
"""Every table that has rows of a study. Those of `hashes`, chosen by their evaluations, go first."""


def stored_rows(database: Database, table: str, study: str, make: Callable[[Iterator[Row]], T]) -> T:
    """What `make` makes of a study's rows in one table, in the order in which they were written.

    It is called again from the first row after a lost connection.
    """
    if table in LATER and not database.has(table):
        return make(iter(()))
    one = TABLES[table]
    sql = f"SELECT {', '.join(one.columns)} FROM {table} WHERE {one.whose} ORDER BY {one.order}"
    return database.read(sql, (study,), make, many=True)


def holds(database: Database, study: str) -> bool:
    """Whether any table has a row of the study, also where the study itself is damaged or half gone."""
    tables = [name for name in TABLES if name != "hashes" and (name not in LATER or database.has(name))]
    if not database.has("seals"):
        tables.remove("seals")
    asked = (f"SELECT 1 FROM {name} WHERE {TABLES[name].whose} LIMIT 1" for name in tables)
    return any(database.read(sql, (study,), list) for sql in asked)


def extended_by(database: Database, study: str) -> list[str]:
    """The studies that extend this one, by name; protocols that cannot be read extend nothing."""
    rows: list[Row] = database.read("SELECT name, protocol FROM studies WHERE name <> ?", (study,), list)
    return sorted(str(name) for name, protocol in rows if _parent(protocol) == study)


def parent_of(database: Database, study: str) -> str | None:
    """The study that this one extends."""
    rows: list[Row] = database.read("SELECT protocol FROM studies WHERE name = ?", (study,), list)
    return _parent(rows[0][0]) if rows else None


def remove(database: Database, study: str) -> None:
    """Removes every row of the study in one transaction: a kill leaves all of them or none."""
    later = {name for name in LATER if database.has(name)}
    shared = database.has("holders")

    def work(t: Transaction, again: bool) -> None:
        for table, one in TABLES.items():
            if table not in LATER or table in later:
                t.run(f"DELETE FROM {table} WHERE {one.whose}", (study,))
        if shared:
            t.run("DELETE FROM holders WHERE study = ?", (study,))

    database.write(study, work)


def insert(database: Database, study: str, rows: Callable[[str], Iterable[Sequence[Any]]]) -> None:
    """Writes a study that is not there, in one transaction; nothing is written unless its seal holds.

    Args:
        database: opened for writing.
        study: its name.
        rows: table -> the study's rows, as `stored_rows` gave them.

    Raises:
        LedgerDamaged: the rows are not what their seal says.
        ValueError: a study of that name is there.
    """

    def work(t: Transaction, again: bool) -> None:
        if t.rows("SELECT 1 FROM studies WHERE name = ?", (study,)):
            if again:  # the connection was lost while the transaction became true
                return
            raise ValueError(
                f"study '{study}' is in {database.name} already; delete it, or restore elsewhere"
            )
        for table, one in TABLES.items():
            if table in LATER:
                t.ensure(table)
            names = [*(["study"] if one.implied else []), *one.columns]
            sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            for batch in _batches(rows(table)):
                t.many(sql, [(study, *row) for row in batch] if one.implied else batch)
        now, links = study_rows(t.rows, study, hashed=True, frozen=True), links_of(t.rows, study)
        if faults := seal_faults(study, links, now, links):
            raise LedgerDamaged(f"study '{study}': {faults[0].where}: {faults[0].what}; nothing was restored")

    database.write(study, work)


def faults(study: str, rows: Callable[[str], Iterable[Sequence[Any]]]) -> list[str]:
    """What of a study's rows is not what was committed, by the hashes in them and the seal over them.

    Args:
        study: its name.
        rows: table -> its rows, as `stored_rows` gave them.
    """
    hashes = {row[0]: row[1] for row in rows("hashes")}
    light, found = [], []
    for row in rows("evaluations"):
        if hashes.get(row[0]) != content_hash(row):
            found.append(f"evaluation {row[0]}: its content is not what was committed")
        light.append((*row[:-1], hashes.get(row[0])))
    links = tuple(
        Link(position=position, part=part, place=place, content=content, chain=chain)
        for position, part, place, content, chain in rows("seals")
    )
    now = StudyRows(
        studies=_tuples(rows("studies")),
        plans=_tuples(rows("plans")),
        margins=_tuples(rows("margins")),
        frozen=sorted(_tuples(rows("frozen"))),
        packs=_tuples(rows("packs")),
        evaluations=light,
        attempts=_tuples(rows("attempts")),
    )
    return found + [f"{fault.where}: {fault.what}" for fault in seal_faults(study, links, now, links)]


def _parent(protocol: object) -> str | None:
    try:
        extends = json.loads(str(protocol))["spec"].get("extends")
        return str(extends["study"]) if extends else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _tuples(rows: Iterable[Sequence[Any]]) -> list[Row]:
    return [tuple(row) for row in rows]


def _batches(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    waiting = iter(rows)
    while batch := list(itertools.islice(waiting, BATCH)):
        yield batch
