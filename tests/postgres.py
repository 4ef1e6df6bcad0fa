"""A real PostgreSQL for tests: its own data folder, a free port on loopback, ended with the tests.

In a test, ask for the fixture `postgres` (one server per test process) and for a database of your own:

    def test_of_yours(postgres: Postgres) -> None:
        address = postgres.database()   # fresh and empty: postgresql://groundrules@127.0.0.1:PORT/test_1
        postgres.stop()                 # a fast shutdown: sessions are ended, nothing answers
        postgres.start()                # it is back, at the same address
        postgres.kill()                 # kill -9 of the server and all of its sessions; then `start` again
        with postgres.paused():         # nothing dies and nothing answers
            ...
        postgres.execute("SELECT ...", address)   # as the database's superuser

A test that stops the server starts it again: `postgres` is shared. Outside pytest (the fault harness, a
rehearsal): `with serving() as postgres:`. Two roles may log in: `groundrules` without a password, and
`guarded` with `PASSWORD` (`postgres.database(owner="guarded")`). PostgreSQL refuses to be root, so root runs
it as `postgres` or `nobody`. fsync is off unless asked for: a killed server loses nothing by it, a machine
without power would.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.surroundings import do_without

PATIENCE_SECONDS = 60.0
"""For starting and stopping, on a busy machine."""
PASSWORD = "not/for @production"
SUPERUSER = "postgres"
ACCESS = """
local all all trust
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


class Postgres:
    """One server and its databases."""

    def __init__(self, binaries: Path, folder: Path, *, fsync: bool) -> None:
        self.folder = folder
        self.port = _free_port()
        self._binaries = binaries
        self._fsync = fsync
        self._identity = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def make(self) -> None:
        """The data folder and the roles; leaves the server running."""
        if self._identity:
            shutil.chown(self.folder, self._identity["user"], self._identity["group"])
        made = subprocess.run(
            [self._binaries / "initdb", "-D", self._data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "-N"],
            cwd=self.folder,
            env=_plain_language(),
            capture_output=True,
            text=True,
            check=False,
            **self._identity,
        )
        if made.returncode:
            raise RuntimeError(f"initdb: {made.stderr}")
        (self._data / "pg_hba.conf").write_text(ACCESS, encoding="utf-8")
        self.start()
        self.execute("CREATE ROLE groundrules LOGIN CREATEDB")
        self.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")

    def database(self, owner: str = "groundrules") -> str:
        """The address of a new and empty database, without a password."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} OWNER {owner}")
        return self.address(name, owner)

    def address(self, name: str, user: str = "groundrules") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, address: str = "") -> list[tuple[Any, ...]]:
        """Rows of a statement, run by the superuser in the database of an address."""
        import psycopg

        name = address.rpartition("/")[2] or "postgres"
        with psycopg.connect(self.address(name, SUPERUSER), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def start(self) -> None:
        """Starts it and waits until it answers; nothing where it runs already."""
        if self._process is not None:
            return
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "on" if self._fsync else "off",
            "shared_buffers": "32MB",
            "max_connections": 60,
            "log_min_messages": "warning",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *options],
                cwd=self.folder,
                env=_plain_language(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C for the tests is none for the server
                **self._identity,
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """A fast shutdown: running transactions are rolled back; nothing where it is stopped already."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def kill(self) -> None:
        """kill -9 of the server and of every session; nothing where it is stopped already."""
        if self._process is None:
            return
        family = self._family()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(map(_lives, family)):  # or the next start would find them at work
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes of the killed PostgreSQL are left: {family}")
            time.sleep(0.01)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it the server and its sessions stand still: connections stay open, nothing answers."""
        family = self._family()
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(family):
                os.kill(pid, signal.SIGCONT)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _family(self) -> list[int]:
        """The server's process and its children: one for each session, and some for housekeeping."""
        children = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and _state_and_parent(entry)[1] == str(self.pid):
                    children.append(int(entry.name))
        return [self.pid, *children]

    def _wait_until_it_answers(self) -> None:
        import psycopg

        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            if self._process.poll() is not None:
                self._process = None
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log}")
            try:
                psycopg.connect(self.address("postgres", SUPERUSER), connect_timeout=5).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def serving(*, fsync: bool = False) -> Iterator[Postgres]:
    """A PostgreSQL for as long as it is needed; RuntimeError with the reason where there is none."""
    reason = missing_postgres()
    binaries = _binaries()
    if reason is not None or binaries is None:
        raise RuntimeError(reason)
    folder = Path(tempfile.mkdtemp(prefix="groundrules-pg-", dir="/tmp"))  # a socket's path must be short
    server = Postgres(binaries, folder, fsync=fsync)
    try:
        server.make()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def missing_postgres() -> str | None:
    """Why there is no PostgreSQL here; None where there is one."""
    if find_spec("psycopg") is None:
        return "no psycopg: pip install 'groundrules[scaleout]'"
    if _binaries() is None:
        return "no PostgreSQL server: neither on PATH nor in /usr/lib/postgresql (apt-get install postgresql)"
    return None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this test process; skipped with the reason where there is none, unless promised."""
    reason = missing_postgres()
    if reason is not None:
        do_without("postgresql", reason)
    with serving() as server:
        yield server


def _binaries() -> Path | None:
    """The folder with the programs of the newest PostgreSQL."""
    found = shutil.which("postgres")
    places = [Path(found).resolve().parent] if found else []
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    places += sorted(versions, key=lambda path: -int(path.parent.name))
    return next((p for p in places if (p / "postgres").exists() and (p / "initdb").exists()), None)


def _unprivileged() -> dict[str, Any]:
    """Who runs the server, as words for `subprocess`; nothing where this is not root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _plain_language() -> dict[str, str]:
    """The environment without what would change the server's messages or its place."""
    kept = {name: value for name, value in os.environ.items() if name[:2] not in ("PG", "LC")}
    return kept | {"LC_ALL": "C"}


def _lives(pid: int) -> bool:
    """Whether a process is there and not dead; the dead ones wait for someone to take note."""
    with suppress(OSError):
        return _state_and_parent(Path(f"/proc/{pid}"))[0] != "Z"
    return False


def _state_and_parent(process: Path) -> tuple[str, str]:
    """The fields after the name, which may hold blanks itself."""
    state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    return state, parent


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
