"""One finished study that the black-box tests look at, and copies of it that they may spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.blackbox.program import TINY, groundrules


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of the tiny study, run to its end. Look, but do not touch: it is shared."""
    folder = tmp_path_factory.mktemp("finished")
    groundrules("run", TINY, "--engine", "inline", workspace=folder / "workspace", cwd=folder)
    return folder / "workspace"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished workspace."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny study with some of its text replaced; a text that is not there is an error."""

    def write(*changes: tuple[str, str], name: str = "study.yaml") -> Path:
        text = TINY.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"'{old}' is not in {TINY}"
            text = text.replace(old, new, 1)
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return write
