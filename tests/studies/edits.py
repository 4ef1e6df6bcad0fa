"""Random edits of a ledger's file: what somebody, or a broken tool, may do to its rows behind our back."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from studies.ledger.row_codec import COLUMNS, content_hash

Cursor = sqlite3.Connection
Edit = Callable[[Cursor, random.Random], str]


def edited(file: Path, rng: random.Random) -> str:
    """Makes one random edit that the database accepts and that changes something; says which."""
    for _ in range(1000):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            edit = rng.choice(EDITS)
            before = connection.total_changes
            try:
                what = edit(connection, rng)
            except (sqlite3.IntegrityError, sqlite3.OperationalError):
                continue  # the database itself refuses it
            if connection.total_changes > before or what.startswith("DROP"):
                connection.commit()
                return what
    raise AssertionError("nothing can be edited")


def _tables(connection: Cursor) -> list[str]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in names if name != "sqlite_sequence"]


def _columns(connection: Cursor, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _row(connection: Cursor, table: str, rng: random.Random, count: int = 1) -> list[int]:
    rows = [row for (row,) in connection.execute(f"SELECT rowid FROM {table}")]
    return rng.sample(rows, count) if len(rows) >= count else []


def _place(connection: Cursor, rng: random.Random) -> tuple[str, str, int]:
    """Some column of some row."""
    table = rng.choice([name for name in _tables(connection) if _row(connection, name, rng)])
    return table, rng.choice(_columns(connection, table)), _row(connection, table, rng)[0]


def update(connection: Cursor, rng: random.Random) -> str:
    """Another value, of the same or of another type."""
    table, column, row = _place(connection, rng)
    ((old,),) = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,))
    new = _other(old, rng)
    connection.execute(
        f"UPDATE {table} SET {column} = ? WHERE rowid = ? AND {column} IS NOT ?", (new, row, old)
    )
    return f"UPDATE {table}.{column} of row {row} to {new!r:.80}"


def within(connection: Cursor, rng: random.Random) -> str:
    """Another value somewhere in a JSON document."""
    documents = [
        ("studies", "protocol"), ("studies", "terms"), ("plans", "plan"), ("margins", "margin"),
        ("frozen", "content"), ("evaluations", "evaluation"),
    ]  # fmt: skip
    table, column = rng.choice(documents)
    (row,) = _row(connection, table, rng)
    ((old,),) = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,))
    data = json.loads(old)
    where = _change(data, rng)
    new = json.dumps(data, separators=(",", ":"))
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ? AND {column} <> ?", (new, row, old))
    return f"JSON {table}.{column} of row {row} at {where}"


def within_and_hash(connection: Cursor, rng: random.Random) -> str:
    """A document of an evaluation, and its hash with it."""
    (row,) = _row(connection, "evaluations", rng)
    (columns,) = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM evaluations WHERE rowid = ?", (row,))
    data = json.loads(columns[-1])
    where = _change(data, rng)
    new = (*columns[:-1], json.dumps(data, separators=(",", ":")))
    connection.execute("UPDATE evaluations SET evaluation = ? WHERE rowid = ?", (new[-1], row))
    connection.execute("UPDATE hashes SET hash = ? WHERE slot = ?", (content_hash(new), columns[0]))
    return f"evaluation {columns[0]} at {where}, and its hash"


def within_and_unhashed(connection: Cursor, rng: random.Random) -> str:
    """A document of an evaluation, whose hash is removed."""
    (row,) = _row(connection, "evaluations", rng)
    ((slot, old),) = connection.execute("SELECT slot, evaluation FROM evaluations WHERE rowid = ?", (row,))
    data = json.loads(old)
    where = _change(data, rng)
    connection.execute("UPDATE evaluations SET evaluation = ? WHERE rowid = ?", (json.dumps(data), row))
    connection.execute("DELETE FROM hashes WHERE slot = ?", (slot,))
    return f"evaluation {slot} at {where}, without its hash"


def delete(connection: Cursor, rng: random.Random) -> str:
    """One row, or all of a table."""
    table, _, row = _place(connection, rng)
    if rng.random() < 0.1:
        connection.execute(f"DELETE FROM {table}")
        return f"DELETE all of {table}"
    connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
    return f"DELETE row {row} of {table}"


def delete_pack(connection: Cursor, rng: random.Random) -> str:
    """A pack with everything that came with it."""
    (row,) = _row(connection, "packs", rng)
    ((pack,),) = connection.execute("SELECT id FROM packs WHERE rowid = ?", (row,))
    connection.execute(
        "DELETE FROM hashes WHERE slot IN (SELECT slot FROM evaluations WHERE pack = ?)", (pack,)
    )
    for table, column in (("evaluations", "pack"), ("packs", "id"), ("attempts", "pack"), ("seals", "place")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (pack,))
    return f"DELETE pack {pack} everywhere"


def insert(connection: Cursor, rng: random.Random) -> str:
    """A copy of a row with one or two other values."""
    table, _, row = _place(connection, rng)
    columns = _columns(connection, table)
    (values,) = connection.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE rowid = ?", (row,))
    new = dict(zip(columns, values, strict=True))
    for column in rng.sample(columns, min(len(columns), rng.choice((1, 2)))):
        new[column] = _other(new[column], rng)
    if "sequence" in new:
        new["sequence"] = None
    marks = ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(new.values()))
    return f"INSERT into {table} a copy of row {row}"


def swap(connection: Cursor, rng: random.Random) -> str:
    """What two rows hold in one column, or in all but their keys."""
    table = _place(connection, rng)[0]
    rows = _row(connection, table, rng, 2)
    if not rows:
        return ""
    columns = [c for c in _columns(connection, table) if c not in _KEYS.get(table, ())]
    if columns and rng.random() < 0.7:
        columns = [rng.choice(columns)]
    if not columns:
        return ""
    asked = f"SELECT {', '.join(columns)} FROM {table} WHERE rowid = ?"
    first, second = (connection.execute(asked, (row,)).fetchone() for row in rows)
    if first == second:
        return ""
    put = f"UPDATE {table} SET {', '.join(f'{c} = ?' for c in columns)} WHERE rowid = ?"
    connection.execute(put, (*second, rows[0]))
    connection.execute(put, (*first, rows[1]))
    return f"swap {columns} of rows {rows} of {table}"


def drop(connection: Cursor, rng: random.Random) -> str:
    """A whole table."""
    table = rng.choice(_tables(connection))
    connection.execute(f"DROP TABLE {table}")
    return f"DROP TABLE {table}"


_KEYS = {
    "studies": ("name",), "plans": ("study", "revision"), "margins": ("study", "task", "regime"),
    "packs": ("study", "id"), "evaluations": ("sequence", "slot"), "attempts": ("sequence",),
    "hashes": ("slot",), "seals": ("study", "position"), "frozen": ("study", "part"),
}  # fmt: skip

EDITS: Sequence[Edit] = (
    *(update,) * 6, *(within,) * 5, *(within_and_hash,) * 2, *(within_and_unhashed,) * 2, *(delete,) * 3,
    delete_pack, *(insert,) * 2, *(swap,) * 4, drop,
)  # fmt: skip


def _other(old: Any, rng: random.Random) -> Any:
    """Another value in the place of one."""
    near: list[Any] = [None, "", "x", 0, -1, 7, 1.5, b"\x00\xff", 2**62, "1", "inf", "[]", "{}"]
    if isinstance(old, bool | int):
        near += [old + 1, -old, str(old), float(old) + 0.5] * 2
    elif isinstance(old, float):
        near += [old * 1.0001, -old, str(old), int(old) + 1] * 2
    elif isinstance(old, str):
        cut = rng.randrange(len(old) + 1)
        near += [
            old + " ",
            old[:cut],
            old[:cut] + rng.choice("0az\n\u202e") + old[cut + 1 :],
            old.encode(),
        ] * 2
    return rng.choice(near)


def _change(data: Any, rng: random.Random) -> str:
    """Changes one leaf, key or length somewhere in plain data, in place; says where."""
    path: list[str] = []
    while True:
        keys: list[Any] = list(data) if isinstance(data, dict) else list(range(len(data)))
        key = rng.choice(keys)
        path.append(str(key))
        value = data[key]
        deeper = isinstance(value, dict | list) and len(value) > 0
        if deeper and rng.random() < 0.9:
            data = value
            continue
        match rng.randrange(5):
            case 0:
                del data[key]
            case 1 if isinstance(data, list):
                data.append(value)
            case 1 | 2 if isinstance(data, dict):
                other = rng.choice(keys)
                data[key], data[other] = data[other], data[key]
            case _:
                new = _other(value, rng)
                data[key] = new if not isinstance(new, bytes) else "bytes"
        return ".".join(path)
