"""The ledger on PostgreSQL: made once, read without writing, held by one, and back after every loss."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from studies.cli import invoke
from studies.ledger.contract import WAIT, LedgerDamaged, LedgerLost
from studies.ledger.ledger import Ledger
from studies.ledger.rows import Attempt
from studies.ledger.schema import SCHEMA_VERSION
from studies.ledger.sessions import Session
from studies.packing import Pack
from studies.site import Site, site_of
from tests.postgres import PASSWORD, Postgres
from tests.studies.planted import agenda_of, outcome, started, train, train_all
from trainers.evaluation import Evaluation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def address(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of its own, which is every workspace's ledger."""
    address = postgres.database()
    monkeypatch.setenv("GROUNDRULES_LEDGER", address)
    return address


def quiet(folder: Path) -> tuple[Evaluation, ...]:
    """The small study in a file, undisturbed."""
    site = Site(workspace=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GROUNDRULES_LEDGER", raising=False)
        ledger, fixed = started(folder)
        train_all(agenda_of(ledger, fixed))
    with Ledger.open(folder, site=site) as ledger:
        return ledger.evaluations("tiny")


def first_pack(workspace: Path) -> tuple[Ledger, Pack]:
    ledger, fixed = started(workspace)
    pack = agenda_of(ledger, fixed).next_pack()
    assert pack is not None
    return ledger, pack


def made(pack: Pack) -> list[Evaluation]:
    return [outcome(member) for member in pack.members]


def test_first_runs_that_begin_together_make_one_ledger(
    address: str, postgres: Postgres, workspace: Path
) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    guard = Session(site_of(workspace), writes=True)
    with ThreadPoolExecutor() as pool:
        with guard.connection.transaction():
            guard.alone()  # nobody makes tables before all have seen that there are none
            starting = [pool.submit(lambda: Ledger.open(workspace, create=True).close()) for _ in range(4)]
            deadline = time.monotonic() + 60
            while postgres.execute(waiting, address) != [(4,)]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        for one in starting:
            one.result()
    guard.connection.close()
    assert postgres.execute("SELECT count(*), max(version) FROM groundrules.schema_version", address) == [
        (1, SCHEMA_VERSION)
    ]


def test_reading_makes_nothing_and_says_what_is_missing(
    address: str, postgres: Postgres, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Ledger.find(workspace) is None
    assert invoke(["results", "tiny", "--workspace", str(workspace)]) == 2
    assert "run a study first" in capsys.readouterr().err
    assert postgres.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'groundrules'", address) == []


def test_a_newer_ledger_is_refused(address: str, postgres: Postgres, workspace: Path) -> None:
    Ledger.open(workspace, create=True).close()
    postgres.execute("UPDATE groundrules.schema_version SET version = version + 1", address)
    for create in (True, False):
        with pytest.raises(ValueError, match="newer than this program's"):
            Ledger.open(workspace, create=create)


def test_no_message_shows_a_password(
    postgres: Postgres,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = postgres.database(owner="guarded")
    monkeypatch.setenv("GROUNDRULES_LEDGER", address)
    monkeypatch.setenv("GROUNDRULES_LEDGER_PASSWORD", PASSWORD)
    ledger, _ = started(workspace)
    with pytest.raises(LedgerLost) as refused, Ledger.open(workspace) as reader:
        reader.freeze("tiny", "part", "hash", {})
    assert PASSWORD not in str(refused.value)
    ledger.close()
    for wrong in (
        {"GROUNDRULES_LEDGER_PASSWORD": "a wrong one"},
        {"GROUNDRULES_LEDGER": address.replace("test_", "missing_")},
        {"GROUNDRULES_LEDGER": address.replace(str(postgres.port), "1")},
        {"GROUNDRULES_LEDGER": f"{address}?password={PASSWORD}"},
    ):
        with monkeypatch.context() as patch:
            for name, value in wrong.items():
                patch.setenv(name, value)
            assert invoke(["results", "tiny", "--workspace", str(workspace)]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ") and len(told.splitlines()) == 1
        assert PASSWORD not in told and "a wrong one" not in told


def test_without_psycopg_one_message_names_the_extra(address: str, workspace: Path) -> None:
    script = "import sys; sys.modules['psycopg'] = None; from studies.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "results", "tiny", "--workspace", str(workspace)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'groundrules[scaleout]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_another_sites_ledger_is_refused_to_writers(address: str, workspace: Path) -> None:
    first = Site(workspace=workspace, ledger=address, tracking="http://mlflow:5000", artifacts="/shared/")
    Ledger.open(workspace, create=True, site=first).close()
    same = Site(workspace=workspace, ledger=address, tracking="http://mlflow:5000/", artifacts="/shared")
    Ledger.open(workspace, create=True, site=same).close()
    other = Site(workspace=workspace, ledger=address, tracking="http://mlflow2:5000", artifacts="/shared")
    with pytest.raises(ValueError, match="belongs to the site with tracking = 'http://mlflow:5000', not"):
        Ledger.open(workspace, create=True, site=other)
    Ledger.open(workspace, site=other).close()


def test_rows_that_were_changed_are_refused_and_named(
    address: str, postgres: Postgres, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, pack = first_pack(workspace)
    ledger.commit("tiny", pack, made(pack), seconds=1.0, worker="w")
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) == 0
    change = "replace(evaluation, '\"steps\":4', '\"steps\":5')"
    postgres.execute(f"UPDATE groundrules.evaluations SET evaluation = {change} WHERE number = 0", address)
    with pytest.raises(LedgerDamaged, match="is not what was committed"):
        ledger.evaluations("tiny")
    with pytest.raises(LedgerDamaged, match="is not what was committed"):
        ledger.chain("tiny", pack.factor, pack.task, pack.regime, curves=False)
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) == 1
    assert "its content is not what was committed" in capsys.readouterr().out


def test_a_study_survives_that_its_database_is_stopped_and_killed(
    address: str, postgres: Postgres, workspace: Path, tmp_path: Path
) -> None:
    ledger, fixed = started(workspace)
    packs = 0
    with listening() as told, ledger.hold("tiny"):
        agenda = agenda_of(ledger, fixed)
        while (pack := agenda.next_pack()) is not None:
            packs += 1
            if packs in (3, 8):
                (postgres.stop if packs == 3 else postgres.kill)()
                threading.Timer(0.5, postgres.start).start()
            train(agenda, pack)
        # One line when a wait begins, one when it is over.
        assert ["is back" in line for line in told] == [False, True, False, True]
        assert ledger.evaluations("tiny") == quiet(tmp_path / "quiet")
        assert ledger.check("tiny").faults == ()
        kinds = [attempt.kind for attempt in ledger.attempts("tiny")]
        assert kinds == ["committed"] * packs
        with pytest.raises(ValueError, match="in use by another run"):  # it won its lock again, both times
            hold_and_let_go(workspace)


@pytest.mark.parametrize("told", [True, False], ids=["the server saw it", "the server did not see it"])
def test_a_commit_whose_answer_was_lost_counts_once(
    address: str, postgres: Postgres, workspace: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    with cutting(postgres.port, told=told) as (port, armed):
        monkeypatch.setenv("GROUNDRULES_LEDGER", address.replace(str(postgres.port), str(port)))
        ledger, pack = first_pack(workspace)
        with ledger.hold("tiny"):
            armed.set()
            assert ledger.commit("tiny", pack, made(pack), seconds=1.0, worker="w") == len(pack.members)
            assert not armed.is_set()
        assert [attempt.kind for attempt in ledger.attempts("tiny")] == ["committed"]
        assert len(ledger.evaluations("tiny")) == len(pack.members)
        ledger.close()


def test_a_run_whose_study_was_taken_over_meanwhile_stops(
    address: str, postgres: Postgres, workspace: Path
) -> None:
    ledger, pack = first_pack(workspace)
    with ledger.hold("tiny"), Ledger.open(workspace, create=True) as second:
        postgres.execute("SELECT pg_terminate_backend(session::int) FROM groundrules.holders", address)
        with second.hold("tiny"):
            with pytest.raises(LedgerLost, match="was taken over by another run"):
                ledger.commit("tiny", pack, made(pack), seconds=1.0, worker="w")
            assert second.commit("tiny", pack, made(pack), seconds=1.0, worker="w")
    assert [attempt.kind for attempt in second_look(workspace)] == ["committed"]


def test_who_does_not_hold_a_study_cannot_write_it_while_another_does(address: str, workspace: Path) -> None:
    ledger, pack = first_pack(workspace)
    with (
        ledger.hold("tiny"),
        Ledger.open(workspace, create=True) as other,
        pytest.raises(LedgerLost, match="in use by another run"),
    ):
        other.commit("tiny", pack, made(pack), seconds=1.0, worker="w")
    assert ledger.filled("tiny") == {}


def test_a_wait_that_is_over_is_one_message_and_nothing_is_lost(
    address: str, postgres: Postgres, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT, "0.3")
    ledger, pack = first_pack(workspace)
    with ledger.hold("tiny"):
        postgres.stop()
        try:
            with pytest.raises(LedgerLost, match="resume with the same command"):
                ledger.commit("tiny", pack, made(pack), seconds=1.0, worker="w")
        finally:
            postgres.start()
    again, pack = first_pack(workspace)
    with again.hold("tiny"):
        assert again.commit("tiny", pack, made(pack), seconds=1.0, worker="w") == len(pack.members)


def test_an_interrupt_ends_the_wait(address: str, postgres: Postgres, workspace: Path) -> None:
    ledger, pack = first_pack(workspace)
    with ledger.hold("tiny"):
        postgres.stop()
        try:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                ledger.commit("tiny", pack, made(pack), seconds=1.0, worker="w")
        finally:
            postgres.start()
    with Ledger.open(workspace) as reader:
        assert reader.filled("tiny") == {}


def hold_and_let_go(workspace: Path) -> None:
    with Ledger.open(workspace, create=True) as other, other.hold("tiny"):
        pass


def second_look(workspace: Path) -> list[Attempt]:
    with Ledger.open(workspace) as reader:
        return list(reader.attempts("tiny"))


@contextmanager
def listening() -> Iterator[list[str]]:
    """What the ledger warns of."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("groundrules.ledger")
    log.addHandler(handler)
    try:
        yield told
    finally:
        log.removeHandler(handler)


@contextmanager
def cutting(port: int, *, told: bool) -> Iterator[tuple[int, threading.Event]]:
    """A way to the server that, while armed, swallows the answer to the next COMMIT and breaks there.

    Args:
        port: the server's.
        told: whether the server's end of the connection is closed as well.
    """
    armed = threading.Event()
    ends: list[socket.socket] = []

    def carry(near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", port))
        ends.extend((near, far))
        with suppress(OSError, ValueError):  # ValueError: closed by the test's end
            while True:
                for end in select.select([near, far], [], [])[0]:
                    said = end.recv(65536)
                    (far if end is near else near).sendall(said)
                    if armed.is_set() and end is near and b"COMMIT" in said:
                        assert far.recv(65536)  # the server has committed, and nobody will hear of it
                        armed.clear()
                        said = b""
                    if not said:
                        near.close()
                        if told:
                            far.close()
                        return

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = door.accept()
                threading.Thread(target=carry, args=(near,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=accept, daemon=True).start()
        yield door.getsockname()[1], armed
    for end in ends:
        end.close()


UNSEALED = "DROP TABLE groundrules.seals; UPDATE groundrules.schema_version SET version = 1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE studies SET terms = replace(terms, 'cpu', 'H200 cluster')", "the row of study tiny"),
        ("UPDATE margins SET margin = replace(margin, '0.', '1.')", "margins: they are not those"),
        ("DELETE FROM packs WHERE id = (SELECT min(id) FROM packs)", "pack "),
        ("UPDATE packs SET seconds = 999 WHERE id = (SELECT min(id) FROM packs)", "is not what was recorded"),
        (
            "DELETE FROM hashes WHERE slot = (SELECT min(slot) FROM hashes)",
            "the hash of its content is missing",
        ),
        ("DELETE FROM attempts WHERE sequence = 2", "the record of attempts at pack"),
        ("DELETE FROM seals WHERE position = 7", "link 7 of its chain is missing"),
        ("DROP TABLE seals", "its table 'seals' is missing"),
        ("ALTER TABLE packs DROP COLUMN seconds", "seconds"),
    ],
)
def test_an_edited_database_is_found_and_nothing_of_it_is_told(
    address: str,
    postgres: Postgres,
    workspace: Path,
    change: str,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger, fixed = started(workspace)
    train_all(agenda_of(ledger, fixed))
    ledger.close()
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) == 0
    postgres.execute(f"SET search_path TO groundrules; {change}", address)
    capsys.readouterr()
    for command in ("report", "results", "status"):
        assert invoke([command, "tiny", "--workspace", str(workspace)]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("error: ") and not said.out
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) in (1, 2)
    said = capsys.readouterr()
    assert told in said.out + said.err and "internal" not in said.err


def test_an_older_database_is_sealed_once_nobody_runs_a_study_of_it(
    address: str, postgres: Postgres, workspace: Path
) -> None:
    ledger, fixed = started(workspace)
    train_all(agenda_of(ledger, fixed))
    postgres.execute(UNSEALED, address)
    with Ledger.open(workspace) as reader:
        assert (reader.check("tiny").sealed, reader.check("tiny").faults) == (False, ())
    with (
        ledger.hold("tiny"),
        pytest.raises(ValueError, match="is of an earlier version, and its study 'tiny'"),
    ):
        Ledger.open(workspace, create=True)
    ledger.close()
    with ThreadPoolExecutor() as pool:  # several at once: one of them seals it
        opening = [pool.submit(lambda: Ledger.open(workspace, create=True).close()) for _ in range(3)]
    assert [one.result() for one in opening] == [None] * 3
    with Ledger.open(workspace) as reader:
        assert (reader.check("tiny").sealed, reader.check("tiny").faults) == (True, ())
