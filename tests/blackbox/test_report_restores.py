"""`report` brings back what MLflow has lost of a complete study, as `run` does; a copy has its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.tracking.runs import study_run_id
from tests.blackbox.program import TINY, contents, invoked
from tests.studies.mlflow_tables import held, sqlite

COMMANDS: dict[str, tuple[str | Path, ...]] = {
    "report": ("report", "tiny"),
    "run": ("run", TINY, "--engine", "inline"),
}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_copied_workspace_whose_file_was_cut(finished: Path, copied: Path, command: str) -> None:
    original = contents(finished / "artifacts")
    file, should = copied / "mlflow.db", held(sqlite(finished / "mlflow.db"), "tiny")
    file.write_bytes(file.read_bytes()[:100_000])
    ran = invoked(*COMMANDS[command], workspace=copied)
    assert ran.code == 0, ran.said
    assert held(sqlite(file), "tiny") == should
    assert sqlite(file)("SELECT DISTINCT status FROM runs") == [("FINISHED",)]
    place = (copied / "artifacts" / "tiny").as_uri()
    assert sqlite(file)("SELECT artifact_location FROM experiments WHERE name = 'tiny'") == [(place,)]
    shown = copied / "artifacts" / "tiny" / study_run_id("tiny") / "artifacts" / "report" / "index.html"
    assert shown.read_bytes() == (copied / "reports" / "tiny" / "index.html").read_bytes()
    assert contents(finished / "artifacts") == original, "a copy does not write to the original's folder"
