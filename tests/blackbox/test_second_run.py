"""The same command again trains nothing, changes nothing, and says so."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.blackbox.program import TINY, contents, groundrules, invoked


def results(workspace: Path) -> str:
    return invoked("results", "tiny", "--format", "csv", workspace=workspace).out


def test_the_same_command_again_trains_nothing(copied: Path, tmp_path: Path) -> None:
    before = results(copied)
    pages = contents(copied / "reports")
    ran = groundrules("run", TINY, "--engine", "inline", workspace=copied, cwd=tmp_path)
    assert results(copied) == before
    assert contents(copied / "reports") == pages
    assert "nothing to train" in ran.out


def test_another_engine_finds_the_same_work_done(copied: Path, tmp_path: Path) -> None:
    before = results(copied)
    groundrules("run", TINY, "--engine", "ray", workspace=copied, cwd=tmp_path)
    assert results(copied) == before


def test_a_report_is_rebuilt_to_the_byte_from_the_ledger_alone(copied: Path, tmp_path: Path) -> None:
    pages = contents(copied / "reports")
    assert any(name.endswith("index.html") for name in pages)
    for path in sorted((copied / "reports").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for leftover in (*copied.glob("mlflow.db*"), copied / "artifacts"):
        leftover.rename(tmp_path / leftover.name) if leftover.exists() else None
    groundrules("report", "tiny", workspace=copied, cwd=tmp_path)
    assert contents(copied / "reports") == pages


def test_results_hold_every_planned_member_once(finished: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(results(finished))))
    cells = {
        (row["task"], row["regime"], row["block"], row["level"]) for row in rows if row["phase"] == "confirm"
    }
    assert len({row["id"] for row in rows}) == len(rows)
    assert len(cells) == 3 * 2 * 2 * 2  # tasks, regimes, blocks, levels
    runs = [row for row in rows if row["phase"] != "pilot"]
    assert len(runs) == len(cells) * (1 + 2 + 1 + 2)  # default, trials, promoted, both confirm arms
