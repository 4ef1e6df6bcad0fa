"""The ledger's tables. SQLite takes them as they stand here, PostgreSQL with other names of types."""

from __future__ import annotations

from collections.abc import Collection

SCHEMA_VERSION = 2
SEALED_FROM = 2
"""Ledgers of this version and later have a seal; earlier ones get it when a run first opens them."""

TABLES: dict[str, str] = {
    "schema_version": "CREATE TABLE schema_version (version INTEGER NOT NULL)",
    "studies": """CREATE TABLE studies (
    name TEXT PRIMARY KEY, title TEXT NOT NULL, protocol_hash TEXT NOT NULL, protocol TEXT NOT NULL,
    terms TEXT NOT NULL, started_ms INTEGER NOT NULL)""",
    "plans": """CREATE TABLE plans (
    study TEXT NOT NULL, revision INTEGER NOT NULL, hash TEXT NOT NULL, plan TEXT NOT NULL,
    started_ms INTEGER NOT NULL, PRIMARY KEY (study, revision), UNIQUE (study, hash))""",
    "margins": """CREATE TABLE margins (
    study TEXT NOT NULL, position INTEGER NOT NULL, task TEXT NOT NULL, regime TEXT NOT NULL,
    margin TEXT NOT NULL, PRIMARY KEY (study, task, regime))""",
    "packs": """CREATE TABLE packs (
    id TEXT NOT NULL, study TEXT NOT NULL, phase TEXT NOT NULL, factor TEXT NOT NULL, task TEXT NOT NULL,
    regime TEXT NOT NULL, members INTEGER NOT NULL, seconds REAL NOT NULL, worker TEXT NOT NULL,
    committed_ms INTEGER NOT NULL, PRIMARY KEY (study, id))""",
    "evaluations": """CREATE TABLE evaluations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, slot TEXT NOT NULL UNIQUE, study TEXT NOT NULL,
    phase TEXT NOT NULL, factor TEXT NOT NULL, task TEXT NOT NULL, regime TEXT NOT NULL,
    block INTEGER NOT NULL, level TEXT NOT NULL, number INTEGER NOT NULL, pack TEXT NOT NULL,
    status TEXT NOT NULL, evaluation TEXT NOT NULL)""",
    "of_chain": "CREATE INDEX of_chain ON evaluations (study, factor, task, regime, phase)",
    "attempts": """CREATE TABLE attempts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, pack TEXT NOT NULL, slot TEXT NOT NULL,
    kind TEXT NOT NULL, cause TEXT NOT NULL, worker TEXT NOT NULL, seconds REAL NOT NULL,
    at_ms INTEGER NOT NULL)""",
    "seals": """CREATE TABLE seals (
    study TEXT NOT NULL, position INTEGER NOT NULL, part TEXT NOT NULL, place TEXT NOT NULL,
    content TEXT NOT NULL, chain TEXT NOT NULL, PRIMARY KEY (study, position))""",
}

LATER: dict[str, str] = {
    "frozen": """CREATE TABLE IF NOT EXISTS frozen (
    study TEXT NOT NULL, part TEXT NOT NULL, hash TEXT NOT NULL, content TEXT NOT NULL,
    frozen_ms INTEGER NOT NULL, PRIMARY KEY (study, part))""",
    "hashes": """CREATE TABLE IF NOT EXISTS hashes (slot TEXT PRIMARY KEY, hash TEXT NOT NULL)""",
}
"""Tables that a file gets when they are needed: ledgers from before them are as good."""

POSTGRESQL_ONLY: dict[str, str] = {
    "in_order": "CREATE INDEX in_order ON evaluations (study, sequence)",
    "site": "CREATE TABLE site (part TEXT PRIMARY KEY, address TEXT NOT NULL)",
    "holders": """CREATE TABLE holders (
    study TEXT PRIMARY KEY, holder TEXT NOT NULL, session INTEGER NOT NULL, since_ms INTEGER NOT NULL)""",
}
"""What the store of a single machine has in other ways."""

_SPELLED = (
    ("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    ("INTEGER", "BIGINT"),
    ("REAL", "DOUBLE PRECISION"),
)
_LISTED = ("studies", "frozen")
"""Tables whose rows are wanted in the order they came: SQLite counts them by itself."""


def on_postgresql() -> list[str]:
    """The statements that make the whole ledger there."""
    return [spelled(name, sql) for name, sql in (TABLES | LATER | POSTGRESQL_ONLY).items()]


def spelled(name: str, statement: str) -> str:
    """The statement that makes one table, in PostgreSQL's words."""
    for ours, theirs in _SPELLED:
        statement = statement.replace(ours, theirs)
    if name in _LISTED:
        statement = statement.replace("(", "(rowid BIGINT GENERATED ALWAYS AS IDENTITY, ", 1)
    return statement


def version_of(name: str, tables: Collection[str], versions: Collection[object]) -> int:
    """The schema version of what was opened; ValueError where this program cannot read it.

    Args:
        name: the file's or the database's, for the message.
        tables: what is there.
        versions: the rows of `schema_version`.
    """
    if "schema_version" not in tables:
        raise ValueError(f"{name} is not a ledger: it has no schema version")
    version = next(iter(versions), None)
    if len(versions) != 1 or not isinstance(version, int) or version < 1:
        raise ValueError(f"{name} is damaged: its schema version is {version!r}")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{name} has schema version {version}, newer than this program's {SCHEMA_VERSION};"
            " upgrade groundrules"
        )
    sealed = version >= SEALED_FROM
    if not sealed and "seals" in tables:
        raise ValueError(f"{name} is damaged: its schema version is {version}, which has no seal")
    needed = {table for table, sql in TABLES.items() if sql.startswith("CREATE TABLE")}
    if missing := needed - set(tables) - (set() if sealed else {"seals"}):
        raise ValueError(f"{name} is damaged: its table '{min(missing)}' is missing")
    return version
