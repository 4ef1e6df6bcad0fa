"""The door to PostgreSQL: a ledger that a team's machines share.

A study is held by a session lock on the very connection that commits, so the right to write dies with it.
When the connection is lost, a running study waits and reconnects; it wins the lock again before it writes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn

try:
    import psycopg
    from psycopg import conninfo
except ImportError as error:
    raise ValueError(
        f"a ledger on PostgreSQL needs psycopg ({error}): pip install 'groundrules[scaleout]'"
    ) from error

from studies.databases import (
    LedgerDamaged,
    LedgerLost,
    NoLedger,
    Patience,
    Row,
    T,
    Transaction,
    Values,
    in_one_line,
    wait_seconds,
)
from studies.schema import SCHEMA_VERSION, on_postgresql, refuse_others
from studies.site import Site, shown

logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of the rollback of a connection that is gone

NAMESPACE = "groundrules"
"""PostgreSQL's schema for all of the ledger's tables: another program may use the same database."""
READER_SECONDS = 5.0
"""How long a command that only reads waits for a ledger that is away."""
HANDOVER_SECONDS = 2.0
"""How long a dead holder's session may take to end before the study counts as in use."""
BATCH = 2000
"""Rows fetched at once of a query with many."""

CLIENT: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""How this end of a connection notices within 30 s that the other is gone; an address may say otherwise."""
SERVER = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "idle_session_timeout": "0",
    "search_path": NAMESPACE,
    "client_encoding": "UTF8",
}
"""The same at the server's end, so that a dead holder's lock is given back; and where the tables are."""
SETTLE = (
    "SELECT set_config(w.name, w.value, false) FROM unnest(%s::text[], %s::text[]) AS w (name, value)"
    " JOIN pg_settings s ON s.name = w.name"
)
LASTING = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
"""Whatever the server's default: what was acknowledged must be on its disk."""
LOCKED_BY = """
SELECT l.pid, a.backend_start::text, h.holder, h.since_ms
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN holders h ON h.study = %s AND h.session = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
AND l.classid::bigint = %s AND l.objid::bigint = %s
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
PASSING = ("08", "40", "53", "57")
"""Classes of errors that pass: connection lost, transaction rolled back, out of room, server going down."""


class PostgresqlDatabase:
    """One connection to the site's ledger (`studies.databases.Database`), made again when it is lost."""

    without_curves = (
        "(SELECT json_object_agg(key, CASE key WHEN 'curve' THEN '[]'::json"
        " WHEN 'diagnostics' THEN '{}'::json ELSE value END) FROM json_each(evaluation::json))::text"
    )

    def __init__(self, site: Site, *, writes: bool) -> None:
        self.name = _name(site)
        self._site = site
        self._writes = writes
        self._seconds = wait_seconds()
        self._held = ""
        """The study that this connection holds."""
        self._session: tuple[int, str] = (0, "")
        """The server's process of this connection, and since when."""
        self._ghosts: set[tuple[int, str]] = set()
        """The same of earlier connections, of which the server may not know that they are dead."""
        self._connection = self._connected()

    @staticmethod
    def open(site: Site, *, create: bool) -> PostgresqlDatabase:
        """Connects, and makes the tables where `create` allows it and they are missing.

        Raises:
            ValueError: no such database, no ledger in it, from a newer version, or another site's.
        """
        wish = "write" if create else "read"
        database: PostgresqlDatabase | None = None
        try:
            database = PostgresqlDatabase(site, writes=create)
            if create:
                database._make()
            database._check()
            return database
        except (psycopg.Error, OSError) as error:
            if database is not None:
                database.close()
            raise ValueError(
                f"workspace {site.workspace}: cannot {wish} the ledger {_name(site)} ({in_one_line(error)})"
            ) from error
        except ValueError:
            if database is not None:
                database.close()
            raise

    def close(self) -> None:
        """Ends the session; committed packs are safe with or without it."""
        self._connection.close()

    def read(self, sql: str, values: Values, make: Callable[[Iterator[Row]], T], *, many: bool = False) -> T:
        """What `make` makes of the rows; again from the first one after a lost connection."""

        def once() -> T:
            if not many:
                return make(iter(self._connection.execute(_dialect(sql), values).fetchall()))
            with self._connection.transaction(), self._connection.cursor(name="many") as cursor:
                cursor.itersize = BATCH
                cursor.execute(_dialect(sql), values)
                return make(iter(cursor))

        return self._patiently(once, "read")

    def write(self, study: str, work: Callable[[Transaction, bool], T]) -> T:
        """Runs `work` as one transaction, only while nobody else holds the study."""
        again = False

        def once() -> T:
            nonlocal again
            with self._connection.transaction(), self._connection.cursor() as cursor:
                self._claim(cursor, study)
                repeated, again = again, True
                return work(_Transaction(cursor), repeated)

        return self._patiently(once, "written")

    def has(self, table: str) -> bool:
        """Whether there is such a table."""
        return self.read(
            "SELECT to_regclass(?) IS NOT NULL", (f"{NAMESPACE}.{table}",), lambda rows: bool(next(rows)[0])
        )

    def faults(self) -> list[str]:
        """Nothing: PostgreSQL checks its pages when it reads them, where it was set up with checksums."""
        return []

    @contextmanager
    def hold(self, study: str) -> Iterator[None]:
        """The right to run a study: an advisory lock of this session, which ends with it.

        Raises:
            ValueError: another run holds it; names its machine, process and since when.
        """
        if by := self._patiently(lambda: self._win(study), "written"):
            raise ValueError(
                f"study '{study}' in {self.name} is in use by another run ({by}); wait for it or stop it"
            )
        self._held = study
        try:
            yield
        finally:
            self._held = ""
            with suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock(%s)", (_key(study),))

    # the connection

    def _connected(self) -> psycopg.Connection[Row]:
        said = conninfo.conninfo_to_dict(self._site.ledger)
        if "password" in said or "sslpassword" in said:
            raise ValueError(f"ledger {self.name}: no password in an address")
        name = f"groundrules {socket.gethostname()}:{os.getpid()}"
        words: dict[str, Any] = {**CLIENT, "application_name": name, **said}
        secret = self._site.secret("ledger_password_file")
        if secret:
            words["password"] = secret
        connection = psycopg.connect(**words, autocommit=True)
        try:
            settings = SERVER | {"default_transaction_read_only": "off" if self._writes else "on"}
            connection.execute(SETTLE, (list(settings), list(settings.values())))
            connection.execute(LASTING)
            started = connection.execute(
                "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            ).fetchone()
            self._ghosts.add(self._session)
            self._session = started or (0, "")
        except BaseException:
            connection.close()
            raise
        return connection

    def _patiently(self, once: Callable[[], T], wish: str) -> T:
        """Runs `once` until it gets through: reconnects, wins the study's lock again, repeats it whole."""
        patience: Patience | None = None
        while True:
            try:
                if self._connection.closed:
                    self._connection = self._connected()
                    if self._held and (by := self._win(self._held)):
                        self._connection.close()
                        raise LedgerLost(
                            f"study '{self._held}' in {self.name} was taken over by another run ({by}) while "
                            "this one had lost the ledger; this one stops"
                        )
                done = once()
            except psycopg.Error as error:
                if not self._passes(error):
                    self._tell(error, wish)
                held = bool(self._held)
                patience = patience or Patience(
                    self.name, self._seconds if held else min(READER_SECONDS, self._seconds), aloud=held
                )
                patience.wait(error)
            else:
                if patience:
                    patience.over()
                return done

    def _passes(self, error: psycopg.Error) -> bool:
        """Whether the same may succeed later."""
        if self._connection.closed:
            return True
        state = error.sqlstate or ""
        return state[:2] in PASSING or (state == "25006" and self._writes)  # a standby, not yet the primary

    def _tell(self, error: psycopg.Error, wish: str) -> NoReturn:
        """Raises an error of PostgreSQL's as one of ours, where it is not a mistake in this program."""
        if isinstance(error, psycopg.IntegrityError):
            raise error
        damaged = isinstance(error, psycopg.DataError) or (error.sqlstate or "")[:2] == "XX"
        kind = LedgerDamaged if damaged else LedgerLost
        raise kind(f"the ledger {self.name} cannot be {wish} ({in_one_line(error)})") from error

    # the right to write

    def _win(self, study: str) -> str:
        """Takes the study's lock and notes who has it; else says who does.

        A session of this very process that the server still believes alive is ended: its end of the
        connection is gone.
        """
        key = _key(study)
        began = time.monotonic()
        while not _first(self._connection, "SELECT pg_try_advisory_lock(%s)", (key,)):
            pid, since, by = self._holder(study)
            if (pid, since) in self._ghosts:
                self._connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            if time.monotonic() - began > HANDOVER_SECONDS:
                return by
            time.sleep(0.05)
        self._connection.execute(
            "INSERT INTO holders VALUES (%s, %s, %s, %s) ON CONFLICT (study) DO UPDATE SET"
            " holder = excluded.holder, session = excluded.session, since_ms = excluded.since_ms",
            (study, f"{socket.gethostname()}:{os.getpid()}", self._session[0], time.time_ns() // 1_000_000),
        )
        return ""

    def _holder(self, study: str) -> tuple[int, str, str]:
        """The session that has the study's lock, since when it lives, and who that is."""
        key = _key(study)
        row = self._connection.execute(
            LOCKED_BY, (study, (key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF)
        ).fetchone()
        if row is None:
            return 0, "", "unknown"
        pid, started, holder, since_ms = row
        since = datetime.fromtimestamp(since_ms / 1000, UTC).strftime("%F %T UTC") if since_ms else ""
        return pid, started or "", f"{holder} since {since}" if holder else f"the server's process {pid}"

    def _claim(self, cursor: psycopg.Cursor[Row], study: str) -> None:
        """LedgerLost where another session holds the study: it alone may write."""
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (_key(study),))
        if cursor.fetchone() != (True,):
            by = self._holder(study)[2]
            raise LedgerLost(f"study '{study}' in {self.name} is in use by another run ({by})")

    # the tables

    def _make(self) -> None:
        """All tables in one transaction, and only once, however many first runs begin together."""
        with self._connection.transaction():
            if not _first(self._connection, "SELECT to_regclass(%s)", (f"{NAMESPACE}.schema_version",)):
                self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_key(""),))
                if not _first(self._connection, "SELECT to_regclass(%s)", (f"{NAMESPACE}.schema_version",)):
                    self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {NAMESPACE}".encode())
                    for statement in on_postgresql():
                        self._connection.execute(statement.encode())
                    self._connection.execute("INSERT INTO schema_version VALUES (%s)", (SCHEMA_VERSION,))

    def _check(self) -> None:
        found = self._connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (NAMESPACE,)
        ).fetchall()
        tables = {name for (name,) in found}
        if not tables:
            raise NoLedger(
                f"workspace {self._site.workspace}: no ledger in {self.name} yet; run a study first"
            )
        there = "schema_version" in tables
        versions = self._connection.execute("SELECT version FROM schema_version") if there else ()
        refuse_others(self.name, tables, [version for (version,) in versions])
        if self._writes:
            self._belongs()

    def _belongs(self) -> None:
        """The site of the first run, by its addresses; ValueError where this is another.

        Two sites that run studies of one ledger would each have a mirror with one half of the runs.
        """
        ours = {part: shown(getattr(self._site, part)).rstrip("/") for part in ("tracking", "artifacts")}
        with self._connection.transaction():
            for part, address in ours.items():
                self._connection.execute(
                    "INSERT INTO site VALUES (%s, %s) ON CONFLICT DO NOTHING", (part, address)
                )
        theirs: dict[str, str] = dict(self._connection.execute("SELECT part, address FROM site").fetchall())
        for part, address in ours.items():
            if theirs.get(part, "") != address:
                raise ValueError(
                    f"ledger {self.name} belongs to the site with {part} = '{theirs.get(part, '')}', not "
                    f"'{address}' ('' is the workspace): use the same {part}, or another database"
                )


class _Transaction:
    """Statements on one cursor (`studies.databases.Transaction`)."""

    def __init__(self, cursor: psycopg.Cursor[Row]) -> None:
        self._cursor = cursor

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        return self._cursor.execute(_dialect(sql), values).fetchall()

    def run(self, sql: str, values: Values = ()) -> int:
        return self._cursor.execute(_dialect(sql), values).rowcount

    def many(self, sql: str, rows: Sequence[Values]) -> int:
        """In one round trip: psycopg sends all rows before it waits for the first answer."""
        if not rows:
            return 0
        self._cursor.executemany(_dialect(sql), rows)
        return self._cursor.rowcount

    def ensure(self, table: str) -> None:
        """Nothing: here all tables are made with the ledger."""


def _name(site: Site) -> str:
    """The ledger's address for people: without a password, nor what stands behind a question mark."""
    return shown(site.ledger).partition("?")[0]


def _first(connection: psycopg.Connection[Row], sql: str, values: Values) -> Any:
    """The first value of the first row."""
    row = connection.execute(sql.encode(), values).fetchone()
    return row[0] if row else None


@lru_cache(maxsize=256)
def _dialect(sql: str) -> bytes:
    """The same statement with psycopg's placeholders."""
    return sql.replace("?", "%s").encode()


def _key(study: str) -> int:
    """The advisory lock of a study, 64 bits; that of '' guards the making of the tables."""
    digest = hashlib.sha256(f"groundrules ledger\n{study}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
