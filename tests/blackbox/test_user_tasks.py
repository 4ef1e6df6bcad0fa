"""A user's own arrays and their own torch module go through plan, run, report and export."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.blackbox.program import HERE, contents, groundrules

MINE = ("--tasks-from", HERE / "my_tasks.py")


def test_a_users_tasks_and_network_go_all_the_way(
    workspace: Path, tmp_path: Path, study_file: Callable[..., Path]
) -> None:
    file = study_file(
        ("study: tiny", "study: mine"),
        ("tasks: [wine, breast_cancer, digits, diabetes]", "tasks: [rings, slopes, wine]"),
        ("  deep: {depth: 4}\n", ""),
    )
    # Folders of the user's that are named like ours must not be imported instead.
    for name in ("trainers", "reports", "search_spaces", "studies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            "raise RuntimeError('the wrong package')\n", encoding="utf-8"
        )

    planned = groundrules("plan", file, *MINE, workspace=workspace, cwd=tmp_path)
    assert "rings" in planned.out
    assert "slopes" in planned.out
    assert not workspace.exists()

    groundrules("run", file, *MINE, "--engine", "inline", workspace=workspace, cwd=tmp_path)
    table = groundrules("results", "mine", "--format", "csv", workspace=workspace, cwd=tmp_path).out
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {row["task"] for row in rows} == {"rings", "slopes", "wine"}
    trained = [row for row in rows if row["task"] in ("rings", "slopes")]
    assert any(row["status"] == "finished" for row in trained)
    assert {row["status"] for row in trained} <= {"finished", "diverged"}

    # What is in the ledger is enough from here on: no task file.
    pages = contents(workspace / "reports")
    groundrules("report", "mine", workspace=workspace, cwd=tmp_path)
    assert contents(workspace / "reports") == pages
    page = next(text.decode() for name, text in pages.items() if name.endswith("mine/index.html"))
    assert "rings" in page
    assert "slopes" in page

    defaults = yaml.safe_load(
        groundrules("export", "mine", "--format", "yaml", workspace=workspace, cwd=tmp_path).out
    )
    (row,) = defaults["rows"]
    assert (row["factor"], row["regime"]) == ("initializer", "shallow")
    assert row["recommended"] in ("he_normal", "glorot_normal")
