"""A local run needs nothing of its surroundings: no home, no short temporary folder, no other cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.blackbox.program import TINY, command_line, environment


def run(folder: Path, more: Mapping[str, str], without: str = "") -> str:
    """What a run with Ray says; AssertionError unless it is complete."""
    surroundings = environment(**more)
    surroundings.pop(without, None)
    done = subprocess.run(
        command_line("run", TINY, "--workers", "1", workspace=folder / "ws"),
        cwd=folder, env=surroundings, capture_output=True, text=True, check=False, timeout=240,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report " in done.stdout and "internal error" not in done.stderr
    return done.stdout + done.stderr


def test_another_cluster_and_long_temporary_folders_are_nobodys_business(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 50)
    long.mkdir()
    run(tmp_path, {"RAY_ADDRESS": "192.0.2.1:6379", "RAY_TMPDIR": str(long), "TMPDIR": str(long)})
    assert [path.name for path in long.iterdir() if path.name.startswith(("ray", "groundrules"))] == []


@pytest.mark.parametrize("home", ["/nonexistent", "", None])
def test_nobody_needs_a_home(tmp_path: Path, home: str | None) -> None:
    run(tmp_path, {} if home is None else {"HOME": home}, without="HOME" if home is None else "")
