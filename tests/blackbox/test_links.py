"""A symbolic link where a command would write: one sentence that names it, and its target is as it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from studies.tracking.runs import study_run_id
from tests.blackbox.program import TINY, Ran, contents, invoked

RUN = f"artifacts/tiny/{study_run_id('tiny')}"
FILES = (
    *("mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db-shm"),
    *("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "ledger.sqlite-journal", "tiny.lock"),
    *("artifacts/tiny/mirrored", f"{RUN}/artifacts/report/index.html"),
    *("reports/index.html", "reports/tiny/index.html", "reports/tiny/summary.json"),
    *("reports/tiny/defaults.yaml", "reports/tiny/forest-0.csv"),
)
FOLDERS = (
    "artifacts",
    "artifacts/tiny",
    RUN,
    f"{RUN}/artifacts",
    f"{RUN}/artifacts/report",
    "reports",
    "reports/tiny",
)
COMMANDS: dict[str, tuple[str | Path, ...]] = {
    "report": ("report", "tiny"),
    "run": ("run", TINY, "--engine", "inline"),
}


def refused(ran: Ran, link: Path) -> None:
    """It ended as the user's mistake with one line that names the link."""
    assert ran.code == 2, ran.said
    (line,) = [line for line in ran.err.splitlines() if "members," not in line]  # how far the study is
    assert line.startswith("error: ") and str(link) in line and "link" in line


def planted(workspace: Path, name: str) -> Path:
    """The place of a file of a report, whatever its number."""
    if name.endswith("forest-0.csv"):
        return sorted((workspace / "reports" / "tiny").glob("*.csv"))[0]
    return workspace / name


@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("victim", ["a file", "nothing yet"])
@pytest.mark.parametrize("name", FILES)
def test_a_file(copied: Path, tmp_path: Path, name: str, victim: str, command: str) -> None:
    place, outside = planted(copied, name), tmp_path / "outside"
    outside.mkdir()
    if victim == "a file":
        (outside / "file").write_bytes(place.read_bytes() if place.exists() else b"mine\n")
    place.unlink(missing_ok=True)
    place.symlink_to(outside / "file")
    before = contents(outside)
    refused(invoked(*COMMANDS[command], workspace=copied), place)
    assert contents(outside) == before
    assert place.is_symlink()


@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder(copied: Path, tmp_path: Path, name: str, command: str) -> None:
    place, outside = copied / name, tmp_path / "outside"
    outside.mkdir()
    (outside / "index.html").write_text("mine", encoding="utf-8")
    shutil.rmtree(place)
    place.symlink_to(outside)
    refused(invoked(*COMMANDS[command], workspace=copied), place)
    assert contents(outside) == {"index.html": b"mine"}


def test_the_database_of_another_workspace_gets_nothing(copied: Path, finished: Path) -> None:
    """Its experiment has the same name, which is how foreign runs came into it."""
    (copied / "mlflow.db").unlink()
    (copied / "mlflow.db").symlink_to(finished / "mlflow.db")
    before = (finished / "mlflow.db").read_bytes()
    for command in COMMANDS.values():
        refused(invoked(*command, workspace=copied), copied / "mlflow.db")
    refused(invoked("ui", workspace=copied), copied / "mlflow.db")
    assert (finished / "mlflow.db").read_bytes() == before


def test_a_new_run_trains_nothing_before_it_says_so(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "workspace", tmp_path / "outside"
    workspace.mkdir()
    outside.mkdir()
    (workspace / "artifacts").symlink_to(outside)
    refused(invoked(*COMMANDS["run"], workspace=workspace), workspace / "artifacts")
    assert sorted(path.name for path in workspace.iterdir()) == ["artifacts"]


def test_the_page_of_another_study_behind_a_link_is_left_alone(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(copied / "reports" / "tiny", other)
    (copied / "reports" / "other").symlink_to(other)
    before = contents(other)
    assert invoked("report", "tiny", workspace=copied).code in (0, 2)
    assert contents(other) == before


@pytest.mark.parametrize("how", ["is a link", "lies below one"])
def test_a_workspace_that_is_reached_by_a_link_works(copied: Path, tmp_path: Path, how: str) -> None:
    if how == "is a link":
        link = tmp_path / "link"
        link.symlink_to(copied)
    else:
        (tmp_path / "above").symlink_to(copied.parent)
        link = tmp_path / "above" / copied.name
    for command in COMMANDS.values():
        ran = invoked(*command, workspace=link)
        assert ran.code == 0, ran.said
    with closing(sqlite3.connect(copied / "mlflow.db")) as database:
        ((place,),) = database.execute("SELECT artifact_location FROM experiments WHERE name = 'tiny'")
    assert place == (copied / "artifacts" / "tiny").resolve().as_uri()


def test_a_link_that_the_user_names_as_output_is_followed_and_stays(copied: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "releases" / "defaults.json", tmp_path / "latest.json"
    target.parent.mkdir()
    target.write_text("{}", encoding="utf-8")
    link.symlink_to(target)
    ran = invoked("export", "tiny", "--format", "json", "--output", link, workspace=copied)
    assert ran.code == 0, ran.said
    assert link.is_symlink() and os.readlink(link) == str(target)
    assert '"table": "tiny"' in target.read_text(encoding="utf-8")
    assert [path.name for path in target.parent.iterdir()] == ["defaults.json"]
