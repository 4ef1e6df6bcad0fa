"""Every command serves a search study, and says that what it found is exploratory."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from reports.evidence.search_record import EXPLORATORY
from studies.cli import invoke
from studies.tracking.tracker import Tracker, database_uri
from tests.studies.searches import agenda_of, started, train_all

Said = pytest.CaptureFixture[str]

FILE = """
kind: search
study: wines
tasks: [wine]
setting: {depth: 1, width: 4, steps: 9, evaluations: 9}
space: {activation: [relu, tanh], learning_rate: }
trials: 6
generation: 3
"""


@pytest.fixture
def filled(workspace: Path) -> Path:
    """A workspace with a complete search of made-up results."""
    ledger, fixed = started(workspace)
    with ledger:
        train_all(agenda_of(ledger, fixed))
    return workspace


def test_plan_tells_space_trials_and_packs(tmp_path: Path, capsys: Said) -> None:
    file = tmp_path / "wines.yaml"
    file.write_text(FILE, encoding="utf-8")
    assert invoke(["plan", str(file)]) == 0
    said = capsys.readouterr().out
    assert EXPLORATORY in said
    assert "learning_rate" in said
    assert "6 trials in 2 generations of at most 3" in said
    assert said.startswith("wines\n"), "no colon without a title"
    assert "  about under a minute" not in said and "  under a minute on" in said
    assert invoke(["plan", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trials"], found["generations"], found["pruner"]) == (6, 2, "successive_halving")
    assert 1 <= found["packs_per_generation"] <= 2


@pytest.mark.parametrize(("high", "vain"), [(0.02, True), (0.2, False)])
def test_plan_notes_a_number_whose_whole_range_comes_to_nothing(
    tmp_path: Path, capsys: Said, high: float, vain: bool
) -> None:
    """Of 9 steps a warm-up of 0.02 is none; it is open at one of the two levels."""
    space = f"space: {{warmup: [none, linear], warmup_fraction: {{low: 0, high: {high}}}, learning_rate: }}"
    file = tmp_path / "wines.yaml"
    file.write_text(FILE.replace("space: {activation: [relu, tanh], learning_rate: }", space))
    assert invoke(["plan", str(file)]) == 0
    note = "note: warmup_fraction is searched in vain: the same is trained wherever it is in its range"
    assert (note in capsys.readouterr().out) is vain


def test_run_ends_with_the_best_configuration(tmp_path: Path, capsys: Said) -> None:
    file, workspace = tmp_path / "wines.yaml", str(tmp_path / "w")
    file.write_text(FILE, encoding="utf-8")
    words = ["run", str(file), "--engine", "inline", "--workspace", workspace, "--json"]
    assert invoke(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["trained"], first["complete"], first["exploratory"]) == (6, True, EXPLORATORY)
    assert first["verdicts"] == []
    assert set(first["best"]["levels"]) >= {"activation", "optimizer"}
    page = Path(first["report"]).read_bytes()
    assert invoke(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["trained"], again["best"]) == (0, first["best"])
    assert Path(first["report"]).read_bytes() == page


@pytest.mark.parametrize("format", ["yaml", "json", "markdown"])
def test_export_writes_the_best_configuration(filled: Path, capsys: Said, format: str) -> None:
    assert invoke(["export", "seek", "--format", format, "--workspace", str(filled)]) == 0
    said = capsys.readouterr().out
    assert EXPLORATORY in said.lower()
    if format != "markdown":
        found = yaml.safe_load(said)
        assert found["kind"] == "search"
        assert sum(found["trials"][name] for name in ("finished", "pruned", "diverged")) == 22


def test_results_list_every_trial_and_none_as_evidence(filled: Path, capsys: Said) -> None:
    assert invoke(["results", "seek", "--workspace", str(filled)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 22
    assert {(row["phase"], row["evidence"]) for row in rows} == {("search", "False")}
    assert "pruned" in {row["status"] for row in rows}


def test_report_is_rebuilt_from_the_ledger(filled: Path, capsys: Said) -> None:
    assert invoke(["report", "seek", "--workspace", str(filled), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["defaults"] is None
    assert EXPLORATORY.split(":")[1] in Path(found["report"]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["plan", "search", "--profile", "full"], "a search study has no profile"),
        (["run", "search", "--profile", "quick", "--engine", "inline"], "a search study has no profile"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], rule: str, workspace: Path, capsys: Said) -> None:
    assert invoke([*words, "--workspace", str(workspace)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: search: ")
    assert rule in said.err


def test_an_unknown_kind_is_refused(tmp_path: Path, capsys: Said) -> None:
    file = tmp_path / "wines.yaml"
    file.write_text(FILE.replace("kind: search", "kind: serach"), encoding="utf-8")
    assert invoke(["plan", str(file)]) == 2
    assert "kind: unknown kind of study 'serach'; did you mean 'search'?" in capsys.readouterr().err


def test_mlflow_has_one_cell_and_every_trial_with_pruned_ones_killed(filled: Path) -> None:
    ledger, fixed = started(filled)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        tracker = Tracker(filled, "seek")
        tracker.watch(agenda)
        tracker.start()
        tracker.stop()
        rows = {e.id: e for e in ledger.evaluations("seek")}
    assert tracker.problem == ""
    client = MlflowClient(database_uri(filled))
    experiment = client.get_experiment_by_name("seek")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    kinds = Counter(run.data.tags["groundrules.kind"] for run in runs)
    assert kinds == {"study": 1, "cell": 1, "member": 22}
    for run in runs:
        kind, status = run.data.tags["groundrules.kind"], run.info.status
        assert run.data.tags["groundrules.evidence"] == "false"
        if kind == "member":
            row = rows[run.data.tags["groundrules.evaluation"]]
            assert status == ("KILLED" if row.status == "pruned" else "FINISHED")
        else:
            assert status == "FINISHED"
        if kind == "cell":
            finished = [row.validation_metric for row in rows.values() if row.status == "finished"]
            assert run.data.metrics["validation/best_tuned"] == min(finished)
            assert run.data.metrics["pruned"] == sum(row.status == "pruned" for row in rows.values())
        if kind == "study":
            assert EXPLORATORY in run.data.tags["mlflow.note.content"]
