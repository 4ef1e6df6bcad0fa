"""The ledger as a file: what is refused, waited for, told and survived."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from studies.cli import invoke
from studies.ledger.contract import WAIT, LedgerDamaged, LedgerLost
from studies.ledger.ledger import FILE, Ledger
from studies.packing import Pack
from tests.studies.planted import agenda_of, outcome, started, train, train_all
from tests.studies.tampering import unseal

ROOT = Path(__file__).parents[2]


def first_pack(workspace: Path) -> tuple[Ledger, Pack]:
    ledger, fixed = started(workspace)
    pack = agenda_of(ledger, fixed).next_pack()
    assert pack is not None
    return ledger, pack


def trained(workspace: Path) -> Ledger:
    """The whole small study, with made-up results."""
    ledger, fixed = started(workspace)
    train_all(agenda_of(ledger, fixed))
    return ledger


def test_reading_never_makes_a_ledger(workspace: Path) -> None:
    with pytest.raises(ValueError, match="run a study first"):
        Ledger.open(workspace)
    assert not workspace.exists()
    workspace.mkdir()
    (workspace / FILE).touch()
    with pytest.raises(ValueError, match="interrupted"):
        Ledger.open(workspace)
    assert [path.name for path in workspace.iterdir()] == [FILE]
    assert (workspace / FILE).stat().st_size == 0
    with Ledger.open(workspace, create=True) as ledger:  # a half-made one is made whole by the next run
        assert ledger.studies() == []


def test_what_cannot_be_opened_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="cannot write the ledger"):
        Ledger.open(tmp_path / "file" / "below", create=True)
    (tmp_path / FILE).write_bytes(b"something else entirely" * 50)
    for create in (True, False):
        with pytest.raises(ValueError, match="not a database"):
            Ledger.open(tmp_path, create=create)
    assert (tmp_path / FILE).read_bytes() == b"something else entirely" * 50


def test_a_newer_ledger_is_refused(workspace: Path) -> None:
    started(workspace)[0].close()
    with sqlite3.connect(workspace / FILE) as raw:
        raw.execute("UPDATE schema_version SET version = version + 1")
    raw.close()
    for create in (True, False):
        with pytest.raises(ValueError, match="newer"):
            Ledger.open(workspace, create=create)


def test_a_writer_waits_for_another_instead_of_failing(workspace: Path) -> None:
    ledger, pack = first_pack(workspace)
    blocker = sqlite3.connect(workspace / FILE, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: blocker.execute("COMMIT"))
    release.start()
    assert ledger.commit("tiny", pack, [outcome(m) for m in pack.members], seconds=1.0, worker="w")
    release.join()
    blocker.close()


def test_a_ledger_is_opened_while_another_process_is_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """That run may be stopped there: who comes second must get as far as being told who holds the study."""
    with Ledger.open(tmp_path, create=True), closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        with Ledger.open(tmp_path, create=True) as second:
            assert second.find_study("tiny") is None


@pytest.mark.parametrize(
    "versions", ["DELETE FROM schema_version", "UPDATE schema_version SET version = 'x'"]
)
def test_a_ledger_without_a_version_is_refused(workspace: Path, versions: str) -> None:
    started(workspace)[0].close()
    with closing(sqlite3.connect(workspace / FILE, isolation_level=None)) as raw:
        raw.execute(versions)
    with pytest.raises(ValueError, match="is damaged: its schema version"):
        Ledger.open(workspace)


def test_a_file_that_stays_locked_ends_the_wait_with_one_message(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(workspace)[0].close()
    monkeypatch.setenv(WAIT, "0.2")
    ledger, pack = first_pack(workspace)
    with closing(sqlite3.connect(workspace / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerLost, match=r"did not answer for .* \(database is locked\)"):
            ledger.commit("tiny", pack, [outcome(m) for m in pack.members], seconds=1.0, worker="w")
        other.execute("COMMIT")
    assert ledger.commit("tiny", pack, [outcome(m) for m in pack.members], seconds=1.0, worker="w")


def test_a_wait_is_a_number_of_seconds(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT, "a while")
    with pytest.raises(ValueError, match=f"{WAIT} = 'a while' must be a number of seconds"):
        Ledger.open(workspace, create=True)


LIMITED = """
    import resource, sys
    from pathlib import Path
    from studies.ledger.contract import LedgerLost
    from tests.studies.planted import agenda_of, started, train_all
    ledger, fixed = started(Path(sys.argv[1]))
    most = sum(file.stat().st_size for file in Path(sys.argv[1]).glob("ledger.sqlite-wal")) + 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    try:
        train_all(agenda_of(ledger, fixed))
    except LedgerLost as error:
        print(error)
    there = len(ledger.filled("tiny"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    train_all(agenda_of(ledger, fixed))
    print(there)
"""


def test_a_disk_that_takes_no_more_stops_the_run_and_nothing_is_corrupt(workspace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(workspace)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    told, there = done.stdout.splitlines()
    assert "cannot be written" in told and "resume with the same command" in told
    quiet = trained(workspace.parent / "quiet")
    with Ledger.open(workspace) as ledger:
        assert 0 < int(there) < len(quiet.evaluations("tiny"))
        assert ledger.evaluations("tiny") == quiet.evaluations("tiny")
        assert ledger.check("tiny").faults == ()


def test_check_reads_every_row_and_says_how_many(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = len(trained(workspace).evaluations("tiny"))
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) == 0
    assert f"tiny: {count} evaluations of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE evaluations SET evaluation = replace(evaluation, '0.1', '0.2')", "its content is not what"),
        ("UPDATE evaluations SET pack = 'x' WHERE sequence = 1", "a pack that is not there"),
        ("UPDATE evaluations SET level = 'x' WHERE sequence = 1", "its content is not what was committed"),
        ("UPDATE evaluations SET study = 'x' WHERE sequence = 1", "evaluations are there"),
        ("DELETE FROM evaluations WHERE sequence = 5", "evaluations are there"),
        ("DELETE FROM hashes WHERE rowid = 3", "the hash of its content is missing"),
        ("DROP TABLE hashes", "the hash of its content is missing"),
        ("DELETE FROM evaluations; DELETE FROM packs; DELETE FROM hashes", "is missing"),
        ("UPDATE studies SET title = 'Another'", "the row of study tiny: is not what was recorded"),
        ("UPDATE studies SET protocol = replace(protocol, '0.05', '0.5')", "the row of study tiny"),
        ("UPDATE studies SET terms = replace(terms, 'cpu', 'H200 cluster')", "the row of study tiny"),
        ("UPDATE margins SET margin = replace(margin, '0.', '1.')", "margins: they are not those"),
        ("DELETE FROM margins WHERE position = 1", "margins: they are not those"),
        ("UPDATE plans SET started_ms = 1", "plan "),
        ("UPDATE packs SET seconds = 999 WHERE rowid = 2", "is not what was recorded"),
        ("UPDATE attempts SET cause = 'other' WHERE sequence = 2", "the record of attempts at pack"),
        ("DELETE FROM attempts WHERE sequence = 2", "the record of attempts at pack"),
        ("DELETE FROM seals", "seal: it is missing"),
        ("DELETE FROM seals WHERE position = 7", "link 7 of its chain is missing"),
        ("UPDATE seals SET content = chain WHERE position = 7", "link 7 of its chain is missing or changed"),
    ],
)
def test_a_row_that_is_not_what_was_committed_is_named(
    workspace: Path, capsys: pytest.CaptureFixture[str], change: str, told: str
) -> None:
    trained(workspace).close()
    _finds(workspace, capsys, change, told)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP TABLE hashes; UPDATE evaluations SET slot = 'x' WHERE sequence = 1", "is that of slot"),
        ("DROP TABLE hashes; UPDATE evaluations SET level = 'x' WHERE sequence = 1", "columns are not those"),
        ("DROP TABLE hashes; UPDATE evaluations SET evaluation = '{' WHERE sequence = 1", "cannot be read"),
        ("DROP TABLE hashes; UPDATE evaluations SET status = 'failed' WHERE sequence = 1", "its status is"),
        ("DELETE FROM hashes WHERE rowid < 4", "the hash of its content is missing"),
        ("UPDATE margins SET margin = replace(margin, '0.', '1.')", "margins: they are not those"),
        ("UPDATE studies SET protocol = replace(protocol, '0.05', '0.5')", "was changed after its hash"),
        (
            "UPDATE plans SET plan = replace(plan, '0.', '1.'); DELETE FROM margins",
            "was changed after its hash",
        ),
    ],
)
def test_of_a_ledger_without_a_seal_check_finds_what_its_hashes_tell(
    workspace: Path, capsys: pytest.CaptureFixture[str], change: str, told: str
) -> None:
    trained(workspace).close()
    unseal(workspace)
    _finds(workspace, capsys, change, told)


def _finds(workspace: Path, capsys: pytest.CaptureFixture[str], change: str, told: str) -> None:
    with closing(sqlite3.connect(workspace / FILE, isolation_level=None)) as raw:
        raw.executescript(change)
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) == 1
    assert told in capsys.readouterr().out


def test_ledgers_from_before_hashes_are_as_good(workspace: Path) -> None:
    before = trained(workspace).evaluations("tiny")
    unseal(workspace, hashes=False)
    with Ledger.open(workspace) as ledger:
        assert ledger.evaluations("tiny") == before
        found = ledger.check("tiny")
        assert (found.hashed, found.evaluations, found.sealed, found.faults) == (0, len(before), False, ())
    Ledger.open(workspace, create=True).close()  # the next run seals it
    with Ledger.open(workspace) as ledger:
        found = ledger.check("tiny")
        assert (found.hashed, found.evaluations, found.sealed, found.faults) == (
            (len(before), len(before), True, ())
        )
        assert 0 < found.adopted_ms <= 1000 * time.time()
        line = next(line for line in found.lines() if "sealed as they were found" in line)
        assert line.startswith(f"its rows of before {time.gmtime(found.adopted_ms / 1000).tm_year}-")


def test_the_trace_of_rows_sealed_as_they_were_found_is_a_part_of_the_seal(workspace: Path) -> None:
    trained(workspace).close()
    with Ledger.open(workspace) as ledger:
        assert ledger.check("tiny").adopted_ms == 0
    unseal(workspace)
    Ledger.open(workspace, create=True).close()
    with closing(sqlite3.connect(workspace / FILE)) as raw, raw:
        raw.execute("UPDATE seals SET place = '1' WHERE part = 'adopted'")
    with Ledger.open(workspace) as ledger:
        assert [fault.where for fault in ledger.check("tiny").faults] == ["seal"]


def test_a_ledger_from_before_seals_goes_on_and_is_sealed_as_it_was_found(workspace: Path) -> None:
    """Half of it was written by an earlier version."""
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    for _ in range(20):
        pack = agenda.next_pack()
        assert pack is not None
        train(agenda, pack)
    ledger.close()
    unseal(workspace)
    quiet = trained(workspace.parent / "quiet").evaluations("tiny")
    assert trained(workspace).evaluations("tiny") == quiet
    with Ledger.open(workspace) as ledger:
        found = ledger.check("tiny")
        assert (found.sealed, found.faults, found.evaluations) == (True, (), len(quiet))


def test_sealing_an_older_ledger_hides_no_damage(workspace: Path) -> None:
    trained(workspace).close()
    unseal(workspace)
    with closing(sqlite3.connect(workspace / FILE, isolation_level=None)) as raw:
        raw.execute("DELETE FROM hashes WHERE rowid = 5")
    with Ledger.open(workspace, create=True) as ledger:
        assert [fault.what for fault in ledger.check("tiny").faults] == ["the hash of its content is missing"]
        with pytest.raises(LedgerDamaged, match="the hash of its content is missing"):
            ledger.study("tiny")


def test_an_older_ledger_is_not_sealed_while_a_study_of_it_runs(workspace: Path) -> None:
    """That run may be of a version that knows nothing of seals."""
    with trained(workspace).hold("tiny"):
        unseal(workspace)
        with pytest.raises(ValueError, match="in use by another run"):
            Ledger.open(workspace, create=True)
    Ledger.open(workspace, create=True).close()


def test_a_lower_version_does_not_take_the_seal_away(workspace: Path) -> None:
    trained(workspace).close()
    with closing(sqlite3.connect(workspace / FILE, isolation_level=None)) as raw:
        raw.execute("UPDATE schema_version SET version = 1")
    with pytest.raises(ValueError, match="is damaged: its schema version is 1, which has no seal"):
        Ledger.open(workspace)


def test_no_flipped_byte_is_ever_taken_for_a_result(workspace: Path, tmp_path: Path) -> None:
    """Wherever it hits: the same evaluations are read, or none and a message."""
    ledger = trained(workspace)
    right = ledger.evaluations("tiny")
    places = {(e.slot.factor, e.slot.task, e.slot.regime) for e in right}
    ledger.close()
    whole = (workspace / FILE).read_bytes()
    rng = random.Random(20261122)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    refused = 0
    for position in rng.sample(range(len(whole)), 150):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << rng.randrange(8)
        for file in damaged.iterdir():
            file.unlink()
        (damaged / FILE).write_bytes(flipped)
        try:
            with Ledger.open(damaged) as reader:
                assert reader.evaluations("tiny") == right
                for place in places:
                    found = reader.chain("tiny", *place, curves=False)
                    assert {e.id: e for e in found}.items() <= {e.id: e for e in right}.items()
        except (ValueError, LedgerDamaged):
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("kept", [0, 100, 4096, 20_000])
def test_a_truncated_file_is_refused_by_every_command(
    workspace: Path, kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(workspace).close()
    os.truncate(workspace / FILE, kept)
    for command in (["report"], ["results"], ["check"], ["export"], ["why", "--study"]):
        words = [*command[:1], "initializer@deep", *command[1:]] if command[0] == "why" else command
        assert invoke([*words, "tiny", "--workspace", str(workspace)]) in (1, 2)
        told = capsys.readouterr()
        assert "error: " in told.err or "database: " in told.out
        assert "internal error" not in told.err
