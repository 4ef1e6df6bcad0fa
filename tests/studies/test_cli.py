"""Every command answers, says what it did, and ends with the right code."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import studies.comparison.cost_estimate
from search_spaces.catalog import FACTORS
from studies.cli import LOG_FILE, invoke
from studies.run import run
from studies.spec.load import load
from tests.blackbox.program import TINY, groundrules, kill_group, start, survivors
from tests.studies.planted import agenda_of, started, train_all

Said = pytest.CaptureFixture[str]


@pytest.fixture
def filled(workspace: Path) -> Path:
    """A workspace with a complete study of made-up results."""
    ledger, fixed = started(workspace)
    with ledger:
        train_all(agenda_of(ledger, fixed))
    return workspace


def test_help_lists_the_commands_and_loads_nothing_heavy() -> None:
    script = (
        "import sys; from studies.cli import invoke; code = invoke(['--help'])\n"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("plan", "run", "report", "export", "results", "ui", "catalog"):
        assert f"  {command}  " in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["frob"],
        ["run"],
        ["run", "quickstart", "--engine", "rey"],
        ["run", "quickstart", "--workers", "0"],
        ["run", "quickstart", "--gpu-fraction", "2"],
        ["export", "tiny", "--format", "yml"],
        ["results", "tiny", "--format", "parquet"],
        ["catalog", "initialiser"],
        ["ui"],
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], filled: Path, capsys: Said) -> None:
    place = [] if words[0] in ("frob", "catalog") else ["--workspace", str(filled)]
    assert invoke([*words, *place]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_our_own_failure_is_exit_1_and_keeps_the_details(
    filled: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a cog is missing")

    monkeypatch.setattr(studies.comparison.cost_estimate, "outline", broken)
    assert invoke(["plan", "quickstart", "--workspace", str(filled)]) == 1
    said = capsys.readouterr().err
    assert "a cog is missing" in said
    assert "Traceback" not in said
    log = filled / LOG_FILE
    assert str(log) in said
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_results_of_equal_studies_are_equal_text(filled: Path, tmp_path: Path, capsys: Said) -> None:
    def text(workspace: Path, *more: str) -> str:
        assert invoke(["results", "tiny", "--workspace", str(workspace), *more]) == 0
        return capsys.readouterr().out

    ledger, fixed = started(tmp_path / "again")
    with ledger:
        train_all(agenda_of(ledger, fixed))
    table = text(filled)
    assert text(tmp_path / "again") == table
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["evidence"] for row in rows if row["phase"] == "confirm"} == {"True"}
    assert {"task", "regime", "block", "level", "number.learning_rate", "setting.depth"} <= set(rows[0])
    assert not {"seconds", "committed_ms"} & set(rows[0])
    assert {"seconds", "committed_ms"} <= set(
        csv.DictReader(io.StringIO(text(filled, "--timings"))).fieldnames or ()
    )


def test_parquet_holds_the_same_rows(filled: Path, tmp_path: Path, capsys: Said) -> None:
    import pyarrow.parquet  # type: ignore[import-untyped,unused-ignore]

    file = tmp_path / "results.parquet"
    words = ["results", "tiny", "--workspace", str(filled)]
    assert invoke([*words, "--format", "parquet", "--output", str(file)]) == 0
    assert invoke(words) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    table = pyarrow.parquet.read_table(file)
    assert table.column_names == list(rows[0])
    assert table["id"].to_pylist() == [row["id"] for row in rows]
    assert table["validation_metric"].to_pylist() == [float(row["validation_metric"]) for row in rows]


def test_the_catalogue_names_every_level_with_its_source(capsys: Said) -> None:
    assert invoke(["catalog", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: list(factor["levels"]) for name, factor in told.items()} == {
        name: list(factor.names) for name, factor in FACTORS.items()
    }
    assert invoke(["catalog", "optimizer"]) == 0
    text = capsys.readouterr().out
    for level in FACTORS["optimizer"].levels:
        assert level.source.claim in text
        assert all(span.name in text for span in level.ranges)


def test_the_catalogue_can_be_written_as_a_document(capsys: Said) -> None:
    assert invoke(["catalog", "--format", "markdown"]) == 0
    whole = capsys.readouterr().out
    assert all(f"## {name}\n" in whole for name in FACTORS)
    assert "| batch_size | 2 to 4096 |" in whole
    assert invoke(["catalog", "clipping", "--format", "markdown"]) == 0
    assert capsys.readouterr().out in whole


def test_a_plan_for_a_program_counts_what_a_run_would_train(workspace: Path, capsys: Said) -> None:
    assert invoke(["plan", str(TINY), "--workspace", str(workspace), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cells"] == 24
    assert told["members"]["confirm"] == 48
    assert set(told["power"]) == {"quick", "standard", "full"}
    assert not workspace.exists()


def test_ctrl_c_ends_a_run_cleanly_and_the_same_command_resumes(tmp_path: Path) -> None:
    workspace, log = tmp_path / "ws", tmp_path / "run.log"
    process, mark = start("run", TINY, "--workers", "1", workspace=workspace, cwd=tmp_path, log=log)
    try:
        until = time.monotonic() + 120
        while not re.search(r"^[1-9]\d* of 264 members", log.read_text(), re.MULTILINE):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130, log.read_text()
    finally:
        kill_group(process)
    said = log.read_text()
    assert "resume with the same command" in said
    assert "Traceback" not in said
    assert survivors(mark, patience=30) == []
    ran = groundrules("run", TINY, "--engine", "inline", "--json", workspace=workspace, cwd=tmp_path)
    told = json.loads(ran.out)
    assert told["complete"]
    assert {verdict["regime"] for verdict in told["verdicts"]} == {"shallow", "deep"}

    quiet = tmp_path / "quiet"
    run(load(TINY), workspace=quiet, engine="inline")
    texts = [
        groundrules("results", "tiny", workspace=place, cwd=tmp_path).out for place in (workspace, quiet)
    ]
    assert texts[0] == texts[1]
