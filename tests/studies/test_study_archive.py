"""An archive holds a study to the byte, says so of itself, and nothing else gets into a workspace by it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import pytest

from studies.cli import invoke
from studies.ledger import whole_study
from studies.ledger.contract import LedgerDamaged
from studies.ledger.ledger import Ledger
from studies.lifecycle import archive as archives
from studies.lifecycle import removal
from studies.lifecycle.archive import archive, opened, restore
from studies.tracking.artifact_folder import ArtifactFolder
from studies.tracking.database import DATABASE
from tests.postgres import Postgres
from tests.studies.mlflow_tables import held, sqlite
from tests.studies.study_remains import files, fill, ledger_rows, mirror

Edit = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two studies, and the archive of one of them."""
    workspace = tmp_path_factory.mktemp("filled")
    fill(workspace)
    fill(workspace, "other")
    archive(workspace, "tiny", workspace / "tiny.zip")
    return workspace


@pytest.fixture
def file(filled: Path, tmp_path: Path) -> Path:
    """A copy of the archive."""
    return Path(shutil.copyfile(filled / "tiny.zip", tmp_path / "tiny.zip"))


def groundrules(*words: str | Path, workspace: Path) -> int:
    return invoke([*map(str, words), "--workspace", str(workspace)])


def changed(file: Path, edit: Edit, *, honest: bool = False) -> Path:
    """The archive with another content; `honest`: with a manifest that has the hashes of that."""
    with zipfile.ZipFile(file) as old:
        content = {name: old.read(name) for name in old.namelist()}
    edit(content)
    if honest:
        manifest = json.loads(content["manifest.json"])
        manifest["files"] = {
            name: sha256(text).hexdigest() for name, text in content.items() if name != "manifest.json"
        }
        content["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w") as new:
        for name, text in content.items():
            new.writestr(name, text)
    return file


def faults(file: Path) -> list[str]:
    with opened(file, file) as found:
        return found.faults()


def test_a_restored_study_is_what_was_archived(
    filled: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "elsewhere"
    assert groundrules("restore", file, workspace=workspace) == 0
    assert ledger_rows(workspace, "tiny") == ledger_rows(filled, "tiny")
    stamp = "artifacts/tiny/mirrored"
    assert {n: f for n, f in files(workspace, "tiny").items() if n != stamp} == files(filled, "tiny")
    assert groundrules("check", "tiny", workspace=workspace) == 0
    mirror(workspace)
    runs = [held(sqlite(place / DATABASE), "tiny") for place in (filled, workspace)]
    assert runs[0].runs == runs[1].runs
    assert not [row for row in runs[0].rows - runs[1].rows if row[-1] != "RUNNING"]  # of the study's own run
    again = archive(workspace, "tiny", tmp_path / "again.zip")
    with opened(file, file) as first:
        assert {n: h for n, h in again.files.items() if n.startswith("ledger/")} == {
            n: h for n, h in first.summary.files.items() if n.startswith("ledger/")
        }
    assert "restored  into" in capsys.readouterr().out


def test_a_study_that_was_cut_short_goes_on_after_it_was_restored(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    fill(whole)
    fill(half, packs=3)
    archive(half, "tiny", tmp_path / "half.zip")
    removal.delete(half, "tiny")
    restore(half, tmp_path / "half.zip")
    fill(half)
    rows = [sorted(row[0:2] for row in ledger_rows(place, "tiny")["evaluations"]) for place in (whole, half)]
    assert rows[0] == rows[1]
    with Ledger.open(half) as ledger:
        assert ledger.check("tiny").faults == ()


def test_archive_with_delete_leaves_the_file_alone(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(filled, workspace)
    output = tmp_path / "away.zip"
    words = ("archive", "tiny", "--output", output, "--delete", "--yes", "--json")
    assert groundrules(*words, workspace=workspace) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["study"] == "tiny"
    assert answer["archive_bytes"] == output.stat().st_size
    assert answer["freed_bytes"] > 0
    assert not any(ledger_rows(workspace, "tiny").values())
    restore(workspace, output)
    assert ledger_rows(workspace, "tiny") == ledger_rows(filled, "tiny")


def test_check_says_what_is_in_it_and_writes_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert groundrules("restore", file, "--check", workspace=tmp_path / "none") == 0
    assert "every hash is right" in capsys.readouterr().out
    assert groundrules("restore", file, "--check", "--json", workspace=tmp_path / "none") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["faults"] == []
    assert answer["rows"]["evaluations"] > 0
    assert sorted(tmp_path.iterdir()) == before


def _other_step(content: dict[str, bytes]) -> None:
    """Another best step in the first evaluation."""
    name = "ledger/evaluations.jsonl"
    first, *others = content[name].splitlines(keepends=True)
    row = json.loads(first)
    row[-1] = row[-1].replace('"best_step":4', '"best_step":3')
    assert json.dumps(row).encode() + b"\n" != first
    content[name] = b"".join([json.dumps(row).encode() + b"\n", *others])


def _one_attempt_less(content: dict[str, bytes]) -> None:
    name = "ledger/attempts.jsonl"
    content[name] = b"".join(content[name].splitlines(keepends=True)[1:])


def _other_title(content: dict[str, bytes]) -> None:
    content["ledger/studies.jsonl"] = content["ledger/studies.jsonl"].replace(b'["tiny", "', b'["tiny", "x')


def _without_seal(content: dict[str, bytes]) -> None:
    content["ledger/seals.jsonl"] = b""


@pytest.mark.parametrize("honest", [False, True])
@pytest.mark.parametrize("edit", [_other_step, _one_attempt_less, _other_title, _without_seal])
def test_a_changed_row_is_noticed_also_behind_a_manifest_that_fits(
    edit: Edit, honest: bool, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(file, edit, honest=honest)
    assert faults(file)
    assert groundrules("restore", file, "--check", workspace=tmp_path / "new") == 1
    assert groundrules("restore", file, workspace=tmp_path / "new") == 2
    assert f"{file} is damaged: " in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


FILES: Mapping[str, tuple[Edit, str]] = {
    "changed": (lambda c: c.update({"report/index.html": b"no"}), "its content is not what was archived"),
    "missing": (lambda c: c.__delitem__("report/index.html"), "it is missing"),
    "added": (lambda c: c.update({"report/new.html": b"no"}), "it was added"),
}


@pytest.mark.parametrize("kind", list(FILES))
def test_a_file_that_is_not_as_it_was_archived_is_noticed(kind: str, file: Path) -> None:
    edit, what = FILES[kind]
    (fault,) = faults(changed(file, edit))
    assert what in fault


@pytest.mark.parametrize("name", ["report/../../../out.txt", "artifacts//out.txt", "report/a/../../out.txt"])
def test_a_name_that_leads_out_of_the_study_is_refused(name: str, file: Path, tmp_path: Path) -> None:
    changed(file, lambda content: content.update({name: b"no"}), honest=True)
    workspace = tmp_path / "deep" / "workspace"
    with pytest.raises(ValueError, match="cannot be the name of a f"):
        restore(workspace, file)
    assert list(tmp_path.rglob("out.txt")) == []
    assert not any(ledger_rows(workspace, "tiny").values())


def test_what_is_no_archive_is_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(file.read_bytes()[:-200])
    newer = changed(
        Path(shutil.copyfile(file, tmp_path / "newer.zip")),
        lambda c: c.update({"manifest.json": c["manifest.json"].replace(b'"format": 1', b'"format": 2')}),
    )
    for wrong in (text, broken, newer, tmp_path / "none.zip", tmp_path):
        assert groundrules("restore", wrong, workspace=tmp_path / "new") == 2
        assert f"{wrong} is no archive of a study" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_archive_for_which_there_is_no_room_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "free_disk", lambda folder: 1_000)
    with pytest.raises(ValueError, match=r"unpacks to \d+ bytes, and 1000 are free"):
        restore(tmp_path / "new", file)
    assert not (tmp_path / "new").exists()


def test_a_study_that_is_there_is_not_replaced(
    filled: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(filled, workspace)
    before = ledger_rows(workspace, "tiny")
    assert groundrules("restore", file, workspace=workspace) == 2
    assert "study 'tiny' is in" in capsys.readouterr().err
    assert groundrules("archive", "other", "--output", file, workspace=workspace) == 2
    assert "exists already" in capsys.readouterr().err
    assert ledger_rows(workspace, "tiny") == before


def test_an_extension_comes_after_what_it_extends(filled: Path, file: Path, tmp_path: Path) -> None:
    workspace, new = tmp_path / "workspace", tmp_path / "new"
    shutil.copytree(filled, workspace)
    with Ledger.open(workspace, create=True) as ledger:
        row = ledger.study("other")
        spec = {**row.protocol["spec"], "extends": {"study": "tiny", "protocol": "p", "plan": "q"}}
        ledger.start_study(replace(row, name="child", protocol={**row.protocol, "spec": spec}))
    assert archive(workspace, "child", tmp_path / "child.zip").extends == "tiny"
    with pytest.raises(ValueError, match="extends 'tiny': restore that one first"):
        restore(new, tmp_path / "child.zip")
    restore(new, file)
    restore(new, tmp_path / "child.zip")
    assert ledger_rows(new, "child") == ledger_rows(workspace, "child")


def test_a_kill_before_the_last_row_leaves_no_study_and_the_same_command_restores_it(
    filled: Path, file: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "new"

    def killed() -> None:
        real = archives.OpenedArchive.refuse_faults

        def then_kill_in_the_transaction(self: archives.OpenedArchive) -> None:
            real(self)
            whole_study.seal_faults = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, attr-defined]

        archives.OpenedArchive.refuse_faults = then_kill_in_the_transaction  # type: ignore[method-assign]
        restore(workspace, file)

    process = get_context("fork").Process(target=killed)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert not any(ledger_rows(workspace, "tiny").values())
    restore(workspace, file)
    assert ledger_rows(workspace, "tiny") == ledger_rows(filled, "tiny")


def test_the_ledger_itself_holds_rows_against_their_seal(filled: Path, tmp_path: Path) -> None:
    rows = ledger_rows(filled, "tiny")
    rows["attempts"] = rows["attempts"][1:]
    with Ledger.open(tmp_path, create=True) as ledger:
        with pytest.raises(LedgerDamaged, match="nothing was restored"):
            whole_study.insert(ledger.database, "tiny", lambda table: rows[table])
        assert not whole_study.holds(ledger.database, "tiny")


def test_a_study_moves_from_a_file_to_a_shared_ledger_and_back(
    filled: Path, file: Path, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as shared:
        shared.setenv("GROUNDRULES_LEDGER", postgres.database())
        restore(tmp_path / "shared", file)
        assert ledger_rows(tmp_path / "shared", "tiny") == ledger_rows(filled, "tiny")
        with Ledger.open(tmp_path / "shared") as ledger:
            assert ledger.check("tiny").faults == ()
        archive(tmp_path / "shared", "tiny", tmp_path / "back.zip")
    restore(tmp_path / "back", tmp_path / "back.zip")
    assert ledger_rows(tmp_path / "back", "tiny") == ledger_rows(filled, "tiny")


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "a//out.txt", "a/./out.txt", "..", ""])
def test_no_name_leads_out_of_a_store(name: str) -> None:
    folder = ArtifactFolder("memory://artifacts/tiny")
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        folder.write(name, b"x")
    folder.write("a/in.txt", b"x")
    assert folder.files() == {"a/in.txt": 1}
