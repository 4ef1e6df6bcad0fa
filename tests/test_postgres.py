"""The PostgreSQL of the tests is one: it can be stopped, killed and brought back with what it held."""

from __future__ import annotations

import pytest

from tests.postgres import PASSWORD, Postgres


def test_what_was_committed_is_there_after_a_stop_and_after_a_kill(postgres: Postgres) -> None:
    psycopg = pytest.importorskip("psycopg")
    address = postgres.database()
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept (number INTEGER)")
        connection.execute("INSERT INTO kept VALUES (1)")
    for end in (postgres.stop, postgres.kill):
        end()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(address)
        postgres.start()
        assert postgres.execute("SELECT number FROM kept", address) == [(1,)]


def test_a_guarded_role_needs_its_password(postgres: Postgres) -> None:
    psycopg = pytest.importorskip("psycopg")
    address = postgres.database(owner="guarded")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(address, password="another")
    psycopg.connect(address, password=PASSWORD).close()
