"""Nothing of a ledger that was edited is told: whatever is changed, it is found, or it changes nothing."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from studies.cli import invoke
from studies.commands.pages import record_of
from studies.commands.results import as_csv, rows
from studies.database.contract import LedgerDamaged
from studies.ledger import FILE, Ledger
from studies.remote.standings import standing_of
from studies.run import run
from studies.spec import parse
from tests.studies import searches, test_external
from tests.studies.edits import edited, within_and_hash
from tests.studies.planted import train
from tests.studies.test_defaults_commands import STUDY

EDITS = int(os.environ.get("GROUNDRULES_EDITS", "150"))
STUDIES = ("checked", "seek")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study with an external check and a failed attempt, and a search beside it."""
    workspace = tmp_path_factory.mktemp("sealed")
    ledger, fixed = test_external.opened(workspace)
    agenda = test_external.agenda_of(ledger, fixed)
    first = agenda.next_pack()
    assert first is not None
    ledger.attempt("checked", first, kind="preempted", cause="the node is gone", worker="w", seconds=2.0)
    train(agenda, first)
    while (pack := agenda.next_pack()) is not None:
        train(agenda, pack)
    assert agenda.done
    ledger.close()
    seek = searches.started(workspace)
    searches.train_all(searches.agenda_of(*seek))
    seek[0].close()
    return workspace


def printed(workspace: Path) -> dict[str, str]:
    """All that pages, exports, results and status are made of."""
    found = {}
    with Ledger.open(workspace) as ledger:
        for row in ledger.studies():
            found[row.name] = (
                f"{record_of(workspace, row.name)!r}\n{as_csv(rows(ledger, row.name, timings=True))}\n"
                f"{row!r}\n{ledger.attempts(row.name)!r}\n{asdict(standing_of(ledger, row, now_ms=0))!r}"
            )
    return found


def reported(workspace: Path) -> bool:
    """Whether check finds something in one of the studies that are there or should be."""
    with closing(sqlite3.connect(workspace / FILE)) as file:
        there = [name for (name,) in file.execute("SELECT name FROM studies") if name not in STUDIES]
    with Ledger.open(workspace) as ledger:
        return any(ledger.check(study).faults for study in (*STUDIES, *there))


@pytest.mark.timeout(300 + EDITS)
def test_a_thousand_random_edits_are_found_or_change_nothing(finished: Path, tmp_path: Path) -> None:
    right = printed(finished)
    assert list(right) == [*STUDIES] and not reported(finished)
    rng = random.Random(20261129)
    silent, harmless = [], 0
    for _ in range(EDITS):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        shutil.copy(finished / FILE, tmp_path / FILE)
        what = edited(tmp_path / FILE, rng)
        try:
            told = reported(tmp_path)
        except (ValueError, LedgerDamaged, sqlite3.Error):
            told = True
        try:
            page = printed(tmp_path)
        except (ValueError, LedgerDamaged):
            page = None
        if page == right and not told:
            harmless += 1
        elif page is not None or not told:
            silent.append(what)
    assert not silent
    assert harmless < 0.1 * EDITS


def told_of(finished: Path, folder: Path, change: str) -> str:
    """What check tells of the study after this change."""
    shutil.copy(finished / FILE, folder / FILE)
    with closing(sqlite3.connect(folder / FILE)) as file:
        file.executescript(change)
    with Ledger.open(folder) as ledger:
        return "\n".join(ledger.check("checked").lines())


def test_a_chain_that_is_cut_off_at_its_end_is_noticed(finished: Path, tmp_path: Path) -> None:
    """The last pack is gone from every table, as if it had never been trained."""
    last = (
        "(SELECT place FROM seals WHERE study = 'checked' AND part = 'pack' ORDER BY position DESC LIMIT 1)"
    )
    change = f"""
        CREATE TEMP TABLE gone AS SELECT {last} AS pack;
        DELETE FROM hashes WHERE slot IN (SELECT slot FROM evaluations WHERE pack IN (SELECT pack FROM gone));
        DELETE FROM evaluations WHERE pack IN (SELECT pack FROM gone);
        DELETE FROM attempts WHERE pack IN (SELECT pack FROM gone);
        DELETE FROM packs WHERE id IN (SELECT pack FROM gone);
        DELETE FROM seals WHERE place IN (SELECT pack FROM gone);
    """
    assert "seal: its chain is cut off at the end" in told_of(finished, tmp_path, change)


def test_rows_that_nobody_recorded_are_found(finished: Path, tmp_path: Path) -> None:
    change = """
        INSERT INTO plans SELECT study, revision + 1, 'x', plan, 1 FROM plans WHERE study = 'checked';
        INSERT INTO attempts (study, pack, slot, kind, cause, worker, seconds, at_ms)
            VALUES ('checked', 'x', '', 'error', 'lightning', 'w', 1.0, 1);
    """
    told = told_of(finished, tmp_path, change)
    assert "plan x: was never recorded like this" in told
    assert "the record of attempts at pack x: was never recorded like this" in told


def test_rows_that_are_gone_are_found(finished: Path, tmp_path: Path) -> None:
    told = told_of(finished, tmp_path, "DELETE FROM frozen; DELETE FROM attempts WHERE sequence = 1")
    assert "the frozen part verdicts: is missing" in told
    assert "the record of attempts at pack" in told and told.count("is missing") == 3


def test_an_evaluation_edited_with_its_hash_is_found(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / FILE, tmp_path / FILE)
    with closing(sqlite3.connect(tmp_path / FILE)) as file, file:
        within_and_hash(file, random.Random(1))
    with Ledger.open(tmp_path) as ledger:
        faults = [*ledger.check("checked").faults, *ledger.check("seek").faults]
    assert any(
        "is not what was recorded (its row, or an evaluation or a hash" in fault.what for fault in faults
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study file, and a workspace in which it was really trained."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    assert run(parse(STUDY), workspace=folder / "ws", engine="inline").complete
    return folder


DAMAGES = (
    "DELETE FROM hashes WHERE rowid < 9; UPDATE evaluations SET evaluation = json_set(evaluation,"
    " '$.test.last', 0.001) WHERE sequence < 9",
    "UPDATE studies SET terms = json_set(terms, '$.versions.torch', '9.9')",
    "UPDATE studies SET terms = '7'",
    "UPDATE studies SET protocol = json_set(protocol, '$.spec.alpha', 0.4)",
    "UPDATE studies SET started_ms = 'x'",
    "UPDATE margins SET margin = json_set(margin, '$.delta', 5.0)",
    "DELETE FROM packs",
    "DELETE FROM packs WHERE rowid = 3",
    "UPDATE packs SET seconds = 'x', members = 'y'",
    "UPDATE packs SET id = x'00ff' WHERE rowid = 3",
    "UPDATE evaluations SET pack = x'00ff' WHERE sequence = 3",
    "DELETE FROM attempts",
    "UPDATE studies SET name = x'00ff'",
    "DELETE FROM studies",
    "DELETE FROM seals",
    "UPDATE seals SET position = 'x' WHERE position = 3",
    "DROP TABLE seals",
    "DROP TABLE margins",
)


def test_a_ledger_that_is_whole_is_run_again_without_a_word(real: Path) -> None:
    assert (
        invoke(["run", str(real / "study.yaml"), "--engine", "inline", "--workspace", str(real / "ws")]) == 0
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_command_tells_in_a_sentence_that_the_ledger_is_damaged(
    real: Path, workspace: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.mkdir()
    shutil.copy(real / "ws" / FILE, workspace / FILE)
    with closing(sqlite3.connect(workspace / FILE)) as file:
        slot = file.execute("SELECT slot FROM evaluations WHERE phase = 'confirm'").fetchone()[0]
        file.executescript(damage)
    for words in (
        ["run", str(real / "study.yaml"), "--engine", "inline"],
        ["extend", "tiny", "--blocks", "3", "--engine", "inline"],
        ["report", "tiny"],
        *(["export", "tiny", "--format", kind] for kind in ("yaml", "python", "markdown")),
        ["results", "tiny"],
        ["why", "initializer@deep"],
        ["claims"],
        ["diff", "tiny", "textbook"],
        ["status", "tiny"],
        ["list"],
        ["replay", slot],
    ):
        code = invoke([*words, "--workspace", str(workspace)])
        told = capsys.readouterr()
        assert (code, told.err.count("\n")) == (2, 1), (words, told)
        assert told.err.startswith("error: ") and ("damaged" in told.err or "unknown study" in told.err)
        assert not told.out
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) in (1, 2)
    assert "internal" not in capsys.readouterr().err
    assert not (workspace / "reports").exists()
