"""The door to PostgreSQL: a ledger that a team's machines share.

A study is held by a session lock on the very connection that commits, so the right to write dies with it.
When the connection is lost, a running study waits and reconnects; it wins the lock again before it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NoReturn

import psycopg

from studies.ledger.contract import (
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
from studies.ledger.schema import SCHEMA_VERSION, TABLES, on_postgresql, spelled, version_of
from studies.ledger.sessions import NAMESPACE, Identity, Session, name_of
from studies.site import Site, shown

READER_SECONDS = 5.0
"""How long a command that only reads waits for a ledger that is away."""
BATCH = 2000
"""Rows fetched at once of a query with many."""

_DAMAGE = (
    psycopg.DataError, psycopg.IntegrityError, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn,
)  # fmt: skip
"""Errors of statements that fit every ledger that this program has written."""
PASSING = ("08", "40", "53", "57")
"""Classes of errors that pass: connection lost, transaction rolled back, out of room, server going down."""


class PostgresqlDatabase:
    """One connection to the site's ledger (`contract.Database`), made again when it is lost."""

    without_curves = (
        "(SELECT json_object_agg(key, CASE key WHEN 'curve' THEN '[]'::json"
        " WHEN 'diagnostics' THEN '{}'::json ELSE value END) FROM json_each(evaluation::json))::text"
    )

    def __init__(self, site: Site, *, writes: bool) -> None:
        self.name = name_of(site)
        self.version = SCHEMA_VERSION
        self._site = site
        self._writes = writes
        self._seconds = wait_seconds()
        self._held = ""
        """The study that this connection holds."""
        self._ghosts: set[Identity] = set()
        """Earlier sessions, of which the server may not know that they are dead."""
        self._session = Session(site, writes=writes)

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
                f"workspace {site.workspace}: cannot {wish} the ledger {name_of(site)} ({in_one_line(error)})"
            ) from error
        except ValueError:
            if database is not None:
                database.close()
            raise

    def close(self) -> None:
        """Ends the session; committed packs are safe with or without it."""
        self._session.connection.close()

    def read(self, sql: str, values: Values, make: Callable[[Iterator[Row]], T], *, many: bool = False) -> T:
        """What `make` makes of the rows; again from the first one after a lost connection."""

        def once() -> T:
            connection = self._session.connection
            if not many:
                return make(iter(connection.execute(_dialect(sql), values).fetchall()))
            with connection.transaction(), connection.cursor(name="many") as cursor:
                cursor.itersize = BATCH
                cursor.execute(_dialect(sql), values)
                return make(iter(cursor))

        return self._patiently(once, "read")

    def write(self, study: str, work: Callable[[Transaction, bool], T]) -> T:
        """Runs `work` as one transaction, only while nobody else holds the study."""
        again = False

        def once() -> T:
            nonlocal again
            connection = self._session.connection
            with connection.transaction(), connection.cursor() as cursor:
                if not self._session.may_write(study):
                    by = self._session.holder(study)[1]
                    raise LedgerLost(f"study '{study}' in {self.name} is in use by another run ({by})")
                repeated, again = again, True
                return work(_Transaction(cursor), repeated)

        return self._patiently(once, "written")

    def upgrade(self, work: Callable[[Transaction], None]) -> None:
        """Makes the newest tables, while nobody else holds a study of the database or makes tables."""

        def once() -> None:
            connection = self._session.connection
            with connection.transaction(), connection.cursor() as cursor:
                self._session.alone()
                t = _Transaction(cursor)
                if t.rows("SELECT version FROM schema_version") != [(self.version,)]:
                    return
                for (study,) in t.rows("SELECT name FROM studies"):
                    if not self._session.may_write(study):
                        by = self._session.holder(study)[1]
                        raise ValueError(
                            f"the ledger {self.name} is of an earlier version, and its study '{study}' is "
                            f"in use by another run ({by}): wait for it or stop it"
                        )
                t.run(spelled("seals", TABLES["seals"]))
                work(t)
                t.run("UPDATE schema_version SET version = ?", (SCHEMA_VERSION,))

        self._patiently(once, "written")
        self.version = SCHEMA_VERSION

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
        if by := self._patiently(lambda: self._session.win(study, self._ghosts), "written"):
            raise ValueError(
                f"study '{study}' in {self.name} is in use by another run ({by}); wait for it or stop it"
            )
        self._held = study
        try:
            yield
        finally:
            self._held = ""
            self._session.release(study)

    # the connection

    def _reconnect(self) -> None:
        """A new session, with the lock of the study that was held; LedgerLost where another run has it."""
        self._ghosts.add(self._session.identity)
        session = Session(self._site, writes=self._writes)
        try:
            if self._held and (by := session.win(self._held, self._ghosts)):
                raise LedgerLost(
                    f"study '{self._held}' in {self.name} was taken over by another run ({by}) while this "
                    "one had lost the ledger; this one stops"
                )
        except BaseException:
            session.connection.close()
            raise
        self._session = session

    def _patiently(self, once: Callable[[], T], wish: str) -> T:
        """Runs `once` until it gets through: reconnects, wins the study's lock again, repeats it whole."""
        patience: Patience | None = None
        while True:
            try:
                if self._session.connection.closed:
                    self._reconnect()
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
        if self._session.connection.closed:
            return True
        state = error.sqlstate or ""
        return state[:2] in PASSING or (state == "25006" and self._writes)  # a standby, not yet the primary

    def _tell(self, error: psycopg.Error, wish: str) -> NoReturn:
        """Raises an error of PostgreSQL's as one of ours, where it is not a mistake in this program."""
        damaged = isinstance(error, _DAMAGE) or (error.sqlstate or "")[:2] == "XX"
        kind = LedgerDamaged if damaged else LedgerLost
        raise kind(f"the ledger {self.name} cannot be {wish} ({in_one_line(error)})") from error

    # the tables

    def _make(self) -> None:
        """All tables in one transaction, and only once, however many first runs begin together."""
        connection = self._session.connection
        if self._made():
            return
        with connection.transaction():
            self._session.alone()
            if self._made():
                return
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {NAMESPACE}".encode())
            for statement in on_postgresql():
                connection.execute(statement.encode())
            connection.execute("INSERT INTO schema_version VALUES (%s)", (SCHEMA_VERSION,))

    def _made(self) -> bool:
        """Whether the tables are there; `to_regclass` would not see what was made since it first looked."""
        there = "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'schema_version'"
        return self._session.first(there, (NAMESPACE,)) is not None

    def _check(self) -> None:
        connection = self._session.connection
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (NAMESPACE,)
        ).fetchall()
        tables = {name for (name,) in found}
        if not tables:
            raise NoLedger(
                f"workspace {self._site.workspace}: no ledger in {self.name} yet; run a study first"
            )
        there = "schema_version" in tables
        versions = connection.execute("SELECT version FROM schema_version") if there else ()
        self.version = version_of(self.name, tables, [version for (version,) in versions])
        if self._writes:
            self._belongs()

    def _belongs(self) -> None:
        """The site of the first run, by its addresses; ValueError where this is another.

        Two sites that run studies of one ledger would each have a mirror with one half of the runs.
        """
        ours = {part: shown(getattr(self._site, part)).rstrip("/") for part in ("tracking", "artifacts")}
        connection = self._session.connection
        with connection.transaction():
            for part, address in ours.items():
                connection.execute("INSERT INTO site VALUES (%s, %s) ON CONFLICT DO NOTHING", (part, address))
        theirs: dict[str, str] = dict(connection.execute("SELECT part, address FROM site").fetchall())
        for part, address in ours.items():
            if theirs.get(part, "") != address:
                raise ValueError(
                    f"ledger {self.name} belongs to the site with {part} = '{theirs.get(part, '')}', not "
                    f"'{address}' ('' is the workspace): use the same {part}, or another database"
                )


class _Transaction:
    """Statements on one cursor (`studies.ledger.contract.Transaction`)."""

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


@lru_cache(maxsize=256)
def _dialect(sql: str) -> bytes:
    """The same statement with psycopg's placeholders."""
    return sql.replace("?", "%s").encode()
