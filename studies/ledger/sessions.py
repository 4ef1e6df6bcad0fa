"""One session of ours on PostgreSQL: set up so that either end notices when the other is gone, and its locks.

A study is held by an advisory lock of the session: whoever dies, however it dies, gives it back.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import conninfo

from studies.ledger.contract import Row, Values
from studies.site import Site, shown

logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of the rollback of a connection that is gone

NAMESPACE = "groundrules"
"""PostgreSQL's schema for all of the ledger's tables: another program may use the same database."""
HANDOVER_SECONDS = 2.0
"""How long a dead holder's session may take to end before the study counts as in use."""
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

Identity = tuple[int, str]
"""A server's process and since when it lives: its number alone may come again."""


class Session:
    """One connection, and which of the studies are its own."""

    def __init__(self, site: Site, *, writes: bool) -> None:
        """Connects.

        Args:
            site: with the address and the password.
            writes: without it the server refuses whatever would change something.

        Raises:
            psycopg.Error: the server cannot be reached, or lets nobody in.
            ValueError: a password stands in the address, or it is none.
        """
        try:
            said = conninfo.conninfo_to_dict(site.ledger)
        except psycopg.ProgrammingError:  # whose text may hold a password
            raise ValueError(f"ledger {name_of(site)}: PostgreSQL cannot read this address") from None
        if "password" in said or "sslpassword" in said:
            raise ValueError(f"ledger {name_of(site)}: no password in an address")
        words: dict[str, Any] = {**CLIENT, "application_name": f"groundrules {_whoami()}", **said}
        secret = site.secret("ledger_password_file")
        if secret:
            words["password"] = secret
        self.connection: psycopg.Connection[Row] = psycopg.connect(**words, autocommit=True)
        try:
            settings = SERVER | {"default_transaction_read_only": "off" if writes else "on"}
            self.connection.execute(SETTLE, (list(settings), list(settings.values())))
            self.connection.execute(LASTING)
            row = self.connection.execute(
                "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            ).fetchone()
        except BaseException:
            self.connection.close()
            raise
        assert row is not None
        self.identity: Identity = row

    def win(self, study: str, ghosts: set[Identity]) -> str:
        """Takes a study's lock and notes who has it; where another has it, says who, and nothing is taken.

        Args:
            study: its name.
            ghosts: sessions of this very process whose connections are lost. Where the server has not noticed
                it yet, they are ended.
        """
        began = time.monotonic()
        while not self.first("SELECT pg_try_advisory_lock(%s)", (_key(study),)):
            identity, by = self.holder(study)
            if identity in ghosts:
                self.connection.execute("SELECT pg_terminate_backend(%s)", (identity[0],))
            if time.monotonic() - began > HANDOVER_SECONDS:
                return by
            time.sleep(0.05)
        self.connection.execute(
            "INSERT INTO holders VALUES (%s, %s, %s, %s) ON CONFLICT (study) DO UPDATE SET"
            " holder = excluded.holder, session = excluded.session, since_ms = excluded.since_ms",
            (study, _whoami(), self.identity[0], time.time_ns() // 1_000_000),
        )
        return ""

    def release(self, study: str) -> None:
        """Gives a study back; nothing where the session has ended, and its lock with it."""
        with suppress(psycopg.Error):
            self.connection.execute("SELECT pg_advisory_unlock(%s)", (_key(study),))

    def may_write(self, study: str) -> bool:
        """Whether no other session holds the study, nor can until this transaction ends."""
        return bool(self.first("SELECT pg_try_advisory_xact_lock(%s)", (_key(study),)))

    def alone(self) -> None:
        """Waits until no other session makes tables, until this transaction ends."""
        self.connection.execute("SELECT pg_advisory_xact_lock(%s)", (_key(""),))

    def holder(self, study: str) -> tuple[Identity, str]:
        """The session that has the study's lock, and who that is."""
        key = _key(study)
        row = self.connection.execute(
            LOCKED_BY, (study, (key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF)
        ).fetchone()
        if row is None:
            return (0, ""), "unknown"
        pid, started, holder, since_ms = row
        since = datetime.fromtimestamp(since_ms / 1000, UTC).strftime("%F %T UTC") if since_ms else ""
        return (pid, started or ""), f"{holder} since {since}" if holder else f"the server's process {pid}"

    def first(self, sql: str, values: Values = ()) -> Any:
        """The first value of the first row; None where there is none."""
        row = self.connection.execute(sql.encode(), values).fetchone()
        return row[0] if row else None


def name_of(site: Site) -> str:
    """The ledger's address for people: without a password, nor what stands behind a question mark."""
    return shown(site.ledger).partition("?")[0]


def _whoami() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _key(study: str) -> int:
    """The advisory lock of a study, 64 bits; that of '' guards the making of the tables."""
    digest = hashlib.sha256(f"groundrules ledger\n{study}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
