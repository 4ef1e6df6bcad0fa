"""Nothing of a ledger that was edited is told: whatever is changed, it is found, or it changes nothing."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from studies.cli import invoke
from studies.cluster.status import status_of
from studies.ledger.contract import LedgerDamaged
from studies.ledger.ledger import FILE, Ledger
from studies.operations.records import record_of
from studies.operations.replay import _found
from studies.operations.results import as_csv, rows
from studies.run import run
from studies.spec.load import parse
from tests.studies import searches, test_external_check
from tests.studies.edits import edited, within_and_hash
from tests.studies.planted import train
from tests.studies.tampering import unseal
from tests.studies.test_defaults_commands import STUDY

EDITS = int(os.environ.get("GROUNDRULES_EDITS", "150"))
STUDIES = ("checked", "seek")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study with an external check and a failed attempt, and a search beside it."""
    workspace = tmp_path_factory.mktemp("sealed")
    ledger, fixed = test_external_check.opened(workspace)
    agenda = test_external_check.agenda_of(ledger, fixed)
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
                f"{row!r}\n{ledger.attempts(row.name)!r}\n{asdict(status_of(ledger, row, now_ms=0))!r}"
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
        (error,) = [line for line in told.err.splitlines() if not line.startswith("note: ")]
        assert code == 2, (words, told)
        assert error.startswith("error: ") and ("damaged" in error or "unknown study" in error)
        # `list` shows that there is such a study, and of no other command a word comes before the error.
        assert not told.out or (words == ["list"] and re.search(r"^tiny +damaged", told.out, re.M)), told.out
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) in (1, 2)
    assert "internal" not in capsys.readouterr().err
    assert not (workspace / "reports").exists()


@pytest.fixture
def half_damaged(finished: Path, workspace: Path) -> Path:
    """Two studies, of which 'checked' was edited and 'seek' is sound."""
    workspace.mkdir()
    shutil.copy(finished / FILE, workspace / FILE)
    with closing(sqlite3.connect(workspace / FILE)) as file, file:
        file.execute("UPDATE studies SET title = 'Another' WHERE name = 'checked'")
    return workspace


def test_a_damaged_study_hides_no_sound_one(half_damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.open(half_damaged) as ledger:
        sound, damage = ledger.sound_studies()
    assert ([row.name for row in sound], list(damage)) == (["seek"], ["checked"])
    for more in ([], ["--json"]):
        assert invoke(["list", *more, "--workspace", str(half_damaged)]) == 2
        told = capsys.readouterr()
        assert told.err.splitlines()[-1].startswith("error: study 'checked': the ledger ")
        if more:
            rows = {row["study"]: row for row in json.loads(told.out)["studies"]}
            assert {name: row["state"] for name, row in rows.items()} == {
                "checked": "damaged", "seek": "complete",
            }  # fmt: skip
            assert rows["seek"]["damage"] is None and "is not what was recorded" in rows["checked"]["damage"]
        else:
            assert "\nseek     complete" in told.out and "\nchecked  damaged" in told.out


def test_claims_of_sound_studies_are_told_beside_a_damaged_one(
    half_damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["claims", "--workspace", str(half_damaged)]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("no study in ") and "error: study 'checked': " in told.err
    assert invoke(["status", "seek", "--workspace", str(half_damaged)]) == 0


def test_an_evaluation_of_a_sound_study_is_replayed_beside_a_damaged_one(half_damaged: Path) -> None:
    with Ledger.open(half_damaged) as ledger:
        one = ledger.evaluations("seek")[0]
        row, found = _found(ledger, one.id)
        assert (row.name, found) == ("seek", one)
        with pytest.raises(LedgerDamaged, match="study 'checked'"):
            _found(ledger, "0" * 12)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("plans", "revision, hash, plan, started_ms"),
        ("margins", "position, task, regime, margin"),
        ("packs", "id, phase, factor, task, regime, members, seconds, worker, committed_ms"),
        ("attempts", "pack, slot, kind, cause, worker, seconds, at_ms"),
        ("frozen", "part, hash, content, frozen_ms"),
    ],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_rows_of_a_name_that_no_study_has_are_damage(
    finished: Path,
    workspace: Path,
    table: str,
    columns: str,
    sealed: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workspace.mkdir()
    shutil.copy(finished / FILE, workspace / FILE)
    if not sealed:
        unseal(workspace)
    with closing(sqlite3.connect(workspace / FILE)) as file, file:
        file.execute(f"INSERT INTO {table} (study, {columns}) SELECT 'ghost', {columns} FROM {table} LIMIT 1")
    assert invoke(["check", "seek", "--workspace", str(workspace)]) == 1
    why = f"study ghost: rows in {table} bear that name, and there is no such study"
    assert why in capsys.readouterr().out
    with Ledger.open(workspace) as ledger:
        sound, damage = ledger.sound_studies()
    assert {row.name for row in sound} == {*STUDIES}
    assert list(damage) == ["ghost"] and why in damage["ghost"]
