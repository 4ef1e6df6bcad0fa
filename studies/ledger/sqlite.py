"""The door to SQLite: a ledger in one file of the workspace, for one machine."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from reports.io.safe_paths import make_folder, opened, refuse_database_links
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
from studies.ledger.schema import LATER, SCHEMA_VERSION, TABLES, version_of
from studies.ledger.table_ownership import refuse_foreign

FILE = "ledger.sqlite"
NAMES = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a study may be called: its name is a part of a file's."""

OPENING_SECONDS = 60
"""How long the first look at a file may wait for another process."""
BUSY_MS = 500
"""How long SQLite itself waits for a lock; between two such waits a Ctrl-C is heard."""
_LOCKED = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
_PASSING = _LOCKED | {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
}  # fmt: skip
"""What is wrong with the place and not with the file."""


class SqliteDatabase:
    """One connection to `<workspace>/ledger.sqlite` (`studies.ledger.contract.Database`)."""

    without_curves = "json_set(evaluation, '$.curve', json('[]'), '$.diagnostics', json('{}'))"

    def __init__(
        self, workspace: Path, connection: sqlite3.Connection, *, writes: bool, version: int
    ) -> None:
        self.version = version
        self.name = str(workspace / FILE)
        self._workspace = workspace
        self._db = connection
        self._seconds = wait_seconds() if writes else OPENING_SECONDS
        self._file = _identity(workspace / FILE) if writes else None
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    @staticmethod
    def open(workspace: Path, *, create: bool) -> SqliteDatabase:
        """Opens the file; `create` makes it where it is missing, without it nothing is ever changed.

        Raises:
            ValueError: nothing there to read, not writable, not a ledger, or from a newer version.
        """
        file = workspace / FILE
        if file.is_symlink():
            raise ValueError(f"{file} is a symbolic link; name the folder where the ledger lies")
        refuse_database_links(file)
        if not create and not file.is_file():
            raise NoLedger(f"workspace {workspace}: no ledger here ({FILE} is missing); run a study first")
        connection: sqlite3.Connection | None = None
        try:
            if create:
                make_folder(workspace)
            connection = _connected(file, "mode=rwc" if create else "mode=ro")
            if not create and _is_bare_copy(connection, file):
                connection.close()
                connection = _connected(file, "mode=ro&immutable=1")
            if create:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                _make(connection)
            version = _check_schema(connection, file)
            return SqliteDatabase(workspace, connection, writes=create, version=version)
        except (OSError, sqlite3.Error, UnicodeError) as error:
            if connection is not None:
                connection.close()
            wish = "write" if create else "read"
            raise ValueError(f"workspace {workspace}: cannot {wish} the ledger {file} ({error})") from error
        except ValueError:
            if connection is not None:
                connection.close()
            raise

    def close(self) -> None:
        """Closes the connection; committed packs are safe with or without it."""
        self._db.close()

    def read(self, sql: str, values: Values, make: Callable[[Iterator[Row]], T], *, many: bool = False) -> T:
        """What `make` makes of the rows; SQLite gives them one by one whether there are many or few."""

        def once() -> T:
            with closing(self._db.execute(sql, values)) as rows:
                return make(rows)

        return self._patiently(once, "read")

    def write(self, study: str, work: Callable[[Transaction, bool], T]) -> T:
        """Runs `work` as one transaction; what was acknowledged is on the disk."""
        self._refuse_unlinked()
        self._patiently(lambda: self._db.execute("BEGIN IMMEDIATE"), "written")
        try:
            made = work(self, False)
            self._patiently(lambda: self._db.execute("COMMIT"), "written")
        except BaseException as error:  # a Ctrl-C too must leave nothing half-written
            with suppress(sqlite3.Error):  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                self._tell(error, "written")
            raise
        return made

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """What a query of a transaction finds."""
        return self._db.execute(sql, values).fetchall()

    def run(self, sql: str, values: Values = ()) -> int:
        """One statement of a transaction; how many rows it changed."""
        return self._db.execute(sql, values).rowcount

    def many(self, sql: str, rows: Sequence[Values]) -> int:
        """The same statement for many rows."""
        return self._db.executemany(sql, rows).rowcount if rows else 0

    def ensure(self, table: str) -> None:
        """Makes a table that older ledgers do not have."""
        self._db.execute(LATER[table])

    def upgrade(self, work: Callable[[Transaction], None]) -> None:
        """Makes the newest tables, while it holds every study of the file."""

        def upgraded(t: Transaction, again: bool) -> None:
            if t.rows("SELECT version FROM schema_version") == [(self.version,)]:
                t.run(TABLES["seals"])
                work(t)
                t.run("UPDATE schema_version SET version = ?", (SCHEMA_VERSION,))

        with ExitStack() as held:
            for (study,) in self.read("SELECT name FROM studies", (), list):
                if not (type(study) is str and NAMES.fullmatch(study)):
                    raise LedgerDamaged(f"the ledger {self.name} is damaged: {study!r:.80} names no study")
                held.enter_context(self.hold(study))
            self.write("", upgraded)
        self.version = SCHEMA_VERSION

    def has(self, table: str) -> bool:
        """Whether there is such a table."""
        sql = "SELECT COUNT(*) FROM sqlite_master WHERE name = ?"
        return self.read(sql, (table,), lambda rows: bool(next(rows)[0]))

    def faults(self) -> list[str]:
        """What SQLite's own check of the file complains of: at most 100 lines."""
        try:
            found = [str(line) for (line,) in self._db.execute("PRAGMA integrity_check")]
        except (sqlite3.DatabaseError, UnicodeError) as error:
            return [in_one_line(error)]
        return [] if found == ["ok"] else found

    @contextmanager
    def hold(self, study: str) -> Iterator[None]:
        """The right to run a study, by a locked file: given back when the process ends, however it ends.

        Raises:
            ValueError: another process holds it; names its pid.
            LedgerLost: the folder takes no lock file.
        """
        try:
            descriptor = opened(self._workspace / f"{study}.lock", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            self._tell(error, "written")
        with os.fdopen(descriptor, "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise ValueError(
                    f"study '{study}' in {self._workspace} is in use by another run (pid {holder}); "
                    "wait for it or stop it"
                ) from None
            with suppress(OSError):  # a full disk: the lock holds without a name in it
                lock.seek(0)
                lock.truncate()
                lock.write(str(os.getpid()))
                lock.flush()
            yield

    def _refuse_unlinked(self) -> None:
        """LedgerLost where the file has gone from its place: what is written into it is seen by nobody."""
        there = _identity(self._workspace / FILE)
        if self._file is not None and there != self._file:  # a reader is refused by SQLite itself
            what = "was deleted or moved" if there is None else "was replaced by another file"
            raise LedgerLost(
                f"the ledger {self.name} {what} while the study was running; where the old one is kept, the "
                "same command on its workspace resumes it"
            )

    def _patiently(self, once: Callable[[], T], wish: str) -> T:
        """Tries again while another connection holds the file."""
        patience: Patience | None = None
        while True:
            try:
                done = once()
            except sqlite3.Error as error:
                if _code(error) not in _LOCKED:
                    self._tell(error, wish)
                patience = patience or Patience(self.name, self._seconds)
                patience.wait(error)
            else:
                if patience:
                    patience.over()
                return done

    def _tell(self, error: Exception, wish: str) -> NoReturn:
        """Raises an error of SQLite's as one of ours, where it is not a mistake in this program."""
        if isinstance(error, OSError) or _code(error) in _PASSING:
            raise LedgerLost(
                f"the ledger {self.name} cannot be {wish} ({in_one_line(error)}); what was committed is "
                "kept: resume with the same command when that is mended"
            ) from error
        corrupt = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT)
        if isinstance(error, sqlite3.OperationalError) or _code(error) in corrupt:
            raise LedgerDamaged(f"the ledger {self.name} is damaged ({in_one_line(error)})") from error
        raise error


def _connected(file: Path, how: str) -> sqlite3.Connection:
    address = f"{file.absolute().as_uri()}?{how}"
    return sqlite3.connect(address, uri=True, timeout=OPENING_SECONDS, isolation_level=None)


def _is_bare_copy(connection: sqlite3.Connection, file: Path) -> bool:
    """Whether this is a copy of a ledger, alone in a folder where SQLite cannot make what it reads it with.

    Such a file cannot be changed by anybody either, so it may be read as it is. Where commits lie beside it
    (`-wal`), they would be left out: then SQLite's own error stands.
    """
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        beside = file.with_name(f"{file.name}-wal")
        waiting = beside.exists() and beside.stat().st_size > 0
        return _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and not waiting
    return False


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file it is, whatever its name; None where there is none."""
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _code(error: Exception) -> int:
    """SQLite's primary error code; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _make(connection: sqlite3.Connection) -> None:
    """The schema in one transaction: a kill leaves either no table or all of them."""
    if not _is_empty(connection):
        return  # without asking for the right to write, which a stopped run may hold for long
    connection.execute("BEGIN IMMEDIATE")
    if _is_empty(connection):
        for statement in TABLES.values():
            connection.execute(statement)
        connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))
    connection.execute("COMMIT")


def _is_empty(connection: sqlite3.Connection) -> bool:
    with closing(connection.execute("SELECT COUNT(*) FROM sqlite_master")) as found:
        return bool(found.fetchone()[0] == 0)


def _check_schema(connection: sqlite3.Connection, file: Path) -> int:
    """The file's schema version."""
    connection.execute("PRAGMA trusted_schema = OFF")
    entries = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    tables = {name for kind, name, _ in entries if kind == "table"}
    if not tables:
        raise ValueError(f"{file} is empty: its making was interrupted; run a study first")
    versions = "SELECT version FROM schema_version"
    there = "schema_version" in tables
    version = version_of(str(file), tables, [v for (v,) in connection.execute(versions)] if there else [])
    refuse_foreign(str(file), entries, [*TABLES.values(), *LATER.values()])
    return version
