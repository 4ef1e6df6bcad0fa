"""What is published comes from a ledger by one command, and is what `published` reads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reports.defaults.defaults_file import load
from studies.cli import invoke
from studies.commands.publish import MARK, main
from studies.operations import defaults_sources
from studies.run import run
from studies.spec.load import parse
from tests.studies.planted import TINY
from tests.studies.searches import seek

Said = pytest.CaptureFixture[str]

STUDY: dict[str, Any] = {
    **TINY,
    "tasks": ["wine"],
    "setting": {"width": 8, "steps": 30, "batch_size": 16, "train_size": 64, "evaluations": 2},
    "budget": {
        "families": 1,
        "blocks": 2,
        "trials": 1,
        "promoted": 1,
        "promote_seeds": 1,
        "confirm_seeds": 2,
    },
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("finished") / "workspace"
    for name in ("tiny", "beside"):
        assert run(parse({**STUDY, "study": name}), workspace=found, engine="inline").complete
    assert run(seek(tasks=["wine"], trials=2), workspace=found, engine="inline").complete
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the package's own, with nothing in it but its README."""
    found = tmp_path / "published"
    found.mkdir()
    shutil.copy(defaults_sources.PUBLISHED_FILE.parent / "README.md", found)
    return found


def published(workspace: Path, folder: Path, *studies: str) -> int:
    words: Sequence[str] = [*studies, "--workspace", str(workspace), "--folder", str(folder)]
    return main([*words, "--machine", "2 cores"])


def test_the_first_study_is_what_published_means_and_all_have_tables(
    workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    assert published(workspace, folder, "tiny", "beside") == 0
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "defaults.yaml", "tiny.md", "beside.yaml", "beside.md",
    }  # fmt: skip
    monkeypatch.setattr(defaults_sources, "PUBLISHED_FILE", folder / "defaults.yaml")
    assert defaults_sources.published().table == "tiny"
    assert invoke(["diff", "published", "tiny", "--workspace", str(workspace)]) == 0
    assert load((folder / "beside.yaml").read_text(encoding="utf-8"), "beside.yaml").table == "beside"


def test_its_readme_says_n_versions_and_hardware_from_the_ledger(workspace: Path, folder: Path) -> None:
    before = (folder / "README.md").read_text(encoding="utf-8").partition(MARK)[0]
    assert published(workspace, folder, "tiny") == 0
    head, _, said = (folder / "README.md").read_text(encoding="utf-8").partition(MARK)
    table = defaults_sources.read_table(folder / "defaults.yaml")
    assert head == before
    assert f"torch {table.versions['torch']}" in said
    assert "1 task family a row, 2 blocks, 2 seeds" in said
    assert table.plan.hash in said
    assert "(2 cores)" in said


def test_publishing_twice_changes_nothing(workspace: Path, folder: Path) -> None:
    assert published(workspace, folder, "tiny", "beside") == 0
    once = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert published(workspace, folder, "tiny", "beside") == 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == once


def test_what_carries_no_verdicts_is_not_published(workspace: Path, folder: Path, capsys: Said) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name, rule in (("seek", "search study"), ("absent", "absent")):
        assert published(workspace, folder, "tiny", name) == 2
        assert rule in capsys.readouterr().err
    (folder / "README.md").write_text("no mark", encoding="utf-8")
    assert published(workspace, folder, "tiny") == 2
    assert MARK in capsys.readouterr().err
    assert {file.name for file in folder.iterdir()} == set(before)
