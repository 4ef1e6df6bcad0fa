"""MLflow holds what the ledger holds: every member once, whatever happened in between."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from studies.ledger.ledger import Ledger
from studies.tracking.runs import study_run_id
from studies.tracking.tracker import Tracker, database_uri
from tests.studies.planted import agenda_of, outcome, started, train, train_all
from trainers.evaluation import CurvePoint, Evaluation
from trainers.member import Member

LOOKS = (2, 4)


def curved(member: Member) -> Evaluation:
    """A made-up result with a curve."""
    points = tuple(
        CurvePoint(
            step=step, train_loss=1 / step, validation_loss=0.5, validation_metric=0.1, learning_rate=0.01
        )
        for step in LOOKS
    )
    inside = {"init.signal_factor": math.inf, "best.dead_units": math.nan}
    inside |= {f"init.activation_square.layer{i:02d}": 2.0**-i for i in (1, 2, 3)}
    inside |= {"end.gap": 0.1, "end.train_loss": 0.9, "trivial_loss": 1.0}
    return replace(outcome(member), curve=points, diagnostics=inside)


def mirror(workspace: Path, *, agenda: Any = None, detail: Any = "members") -> Tracker:
    """One tracker from start to stop."""
    tracker = Tracker(workspace, "tiny", detail=detail)
    if agenda is not None:
        tracker.watch(agenda)
    tracker.start()
    tracker.stop()
    return tracker


def runs(workspace: Path) -> list[Run]:
    """Every run of the study's experiment."""
    client = MlflowClient(database_uri(workspace))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=5000)
    assert not found.token
    return list(found)


def content(workspace: Path) -> dict[str, Any]:
    """Run id -> all that a mirror may not change by being repeated; progress is of its moment."""
    return {
        run.info.run_id: (
            run.data.params,
            {key: value for key, value in run.data.tags.items() if key != "mlflow.note.content"},
            # as text, because NaN differs from itself
            {key: repr(value) for key, value in run.data.metrics.items() if not key.startswith("progress/")},
            run.info.start_time,
        )
        for run in runs(workspace)
    }


def timeless(workspace: Path) -> dict[str, Any]:
    """The content but for what hangs on the moment."""
    return {key: (p, {**t, "groundrules.pack": ""}, m) for key, (p, t, m, _) in content(workspace).items()}


@pytest.fixture
def complete(workspace: Path) -> Path:
    """A complete study in a ledger, with curves; nothing in MLflow."""
    ledger, fixed = started(workspace)
    with ledger:
        train_all(agenda_of(ledger, fixed), make=curved)
    return workspace


def test_study_cells_and_members_form_a_tree_that_tags_find(complete: Path) -> None:
    ledger, fixed = started(complete)
    with ledger:
        assert mirror(complete, agenda=agenda_of(ledger, fixed)).problem == ""
        evaluations = {e.id: e for e in ledger.evaluations("tiny")}
    by_kind: dict[str, list[Run]] = {"study": [], "cell": [], "member": []}
    for run in runs(complete):
        by_kind[run.data.tags["groundrules.kind"]].append(run)
    (study,) = by_kind["study"]
    cells = {run.info.run_id for run in by_kind["cell"]}
    assert len(cells) == len({e.slot.cell for e in evaluations.values()})
    assert {run.data.tags["mlflow.parentRunId"] for run in by_kind["cell"]} == {study.info.run_id}
    assert {run.data.tags["groundrules.evaluation"] for run in by_kind["member"]} == set(evaluations)
    assert len(by_kind["member"]) == len(evaluations)
    for run in by_kind["member"]:
        e = evaluations[run.data.tags["groundrules.evaluation"]]
        assert run.data.tags["mlflow.parentRunId"] in cells
        assert run.data.tags["groundrules.level"] == e.slot.level
        assert run.data.tags["groundrules.evidence"] == ("true" if e.slot.phase == "confirm" else "false")
        assert run.data.metrics["validation/metric"] == e.validation_metric
        assert float(run.data.params["learning_rate"]) == pytest.approx(e.config.numbers["learning_rate"])
        assert ("test/best_validation" in run.data.metrics) == (e.slot.phase == "confirm")
    assert {run.info.status for run in runs(complete)} == {"FINISHED"}


def test_curves_are_kept_for_the_evidence(complete: Path) -> None:
    mirror(complete)
    client = MlflowClient(database_uri(complete))
    with_curve = Counter(
        run.data.tags["groundrules.phase"] for run in runs(complete) if "curve/train_loss" in run.data.metrics
    )
    assert set(with_curve) == {"confirm"}
    run = next(run for run in runs(complete) if run.data.tags.get("groundrules.phase") == "confirm")
    history = client.get_metric_history(run.info.run_id, "curve/train_loss")
    assert [(point.step, point.value) for point in history] == [(step, 1 / step) for step in LOOKS]
    assert run.data.metrics["curve/train_loss"] == 1 / LOOKS[-1]


def test_diagnostics_are_metrics_and_those_of_layers_are_curves_over_layers(complete: Path) -> None:
    mirror(complete)
    client = MlflowClient(database_uri(complete))
    members = [run for run in runs(complete) if run.data.tags["groundrules.kind"] == "member"]
    for run in members:
        assert run.data.metrics["diagnostics/init.signal_factor"] > 1e300
        assert math.isnan(run.data.metrics["diagnostics/best.dead_units"])
        assert run.data.metrics["seconds_per_step"] > 0
        assert run.data.tags["groundrules.fit"] == "underfits"
        assert not any("layer0" in name for name in run.data.metrics)
    with_layers = [run for run in members if "layers/init.activation_square" in run.data.metrics]
    judged = {(run.data.tags["groundrules.phase"], run.data.tags["groundrules.arm"]) for run in with_layers}
    assert judged == {("confirm", "tuned")}
    history = client.get_metric_history(with_layers[0].info.run_id, "layers/init.activation_square")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25), (3, 0.125)]


@pytest.mark.parametrize(
    ("detail", "kinds", "curves"),
    [
        ("cells", {"study", "cell"}, set()),
        ("evidence", {"study", "cell", "member"}, {"confirm"}),
        ("members", {"study", "cell", "member"}, {"confirm"}),
        ("curves", {"study", "cell", "member"}, {"pilot", "retune", "promote", "confirm"}),
    ],
)
def test_detail_says_how_much_is_told(complete: Path, detail: str, kinds: set[str], curves: set[str]) -> None:
    mirror(complete, detail=detail)
    found = runs(complete)
    assert {run.data.tags["groundrules.kind"] for run in found} == kinds
    phases = {run.data.tags["groundrules.phase"] for run in found if "curve/train_loss" in run.data.metrics}
    assert phases == curves


def test_only_the_evidence_is_shown_member_by_member_where_the_file_says_so(complete: Path) -> None:
    mirror(complete, detail="evidence")
    shown = {r.data.tags["groundrules.evaluation"] for r in runs(complete) if _is_member(r)}
    with Ledger.open(complete) as ledger:
        rows = ledger.evaluations("tiny")
    assert shown == {e.id for e in rows if e.slot.phase == "confirm"}


@pytest.mark.parametrize("first", ["cells", "evidence", "members"])
def test_a_resume_with_more_detail_adds_what_is_missing(tmp_path: Path, first: str) -> None:
    """Half a study at one detail and the rest at more is as if it had been more from the start."""
    whole, changed = tmp_path / "whole", tmp_path / "changed"
    for workspace, before in ((whole, "curves"), (changed, first)):
        ledger, fixed = started(workspace)
        with ledger:
            agenda = agenda_of(ledger, fixed)
            for _ in range(12):
                pack = agenda.next_pack()
                assert pack is not None
                train(agenda, pack, curved)
            mirror(workspace, agenda=agenda, detail=before)
            train_all(agenda, make=curved)
            mirror(workspace, agenda=agenda, detail="curves")

    assert timeless(changed) == timeless(whole)
    assert _histories(changed) == _histories(whole)


def test_a_resume_with_less_detail_leaves_what_is_there(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        pack = agenda.next_pack()
        assert pack is not None
        train(agenda, pack, curved)
        mirror(workspace, agenda=agenda, detail="members")
        train_all(agenda, make=curved)
        assert mirror(workspace, agenda=agenda, detail="cells").problem == ""
        cells = {e.slot.cell for e in ledger.evaluations("tiny")}
        assert len(_members(workspace)) == len(pack.members)
        found = [run for run in runs(workspace) if run.data.tags["groundrules.kind"] == "cell"]
        assert len(found) == len(cells)
        assert {run.info.status for run in found} == {"FINISHED"}
        mirror(workspace, agenda=agenda, detail="members")
        assert len(_members(workspace)) == len(ledger.evaluations("tiny"))


def test_another_detail_is_seen_though_the_study_was_complete(complete: Path) -> None:
    ledger, fixed = started(complete)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        mirror(complete, agenda=agenda, detail="cells")
        assert not _members(complete)
        mirror(complete, agenda=agenda, detail="members")
        assert len(_members(complete)) == len(ledger.evaluations("tiny"))


def test_mirroring_again_changes_nothing(complete: Path) -> None:
    mirror(complete)
    before = content(complete)
    mirror(complete)
    assert content(complete) == before


def test_a_run_in_pieces_ends_as_one_in_a_single_go(complete: Path, tmp_path: Path) -> None:
    mirror(complete)
    pieces = tmp_path / "pieces"
    ledger, fixed = started(pieces)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        while not agenda.done:
            for _ in range(7):
                pack = agenda.next_pack()
                if pack is not None:
                    train(agenda, pack, curved)
            mirror(pieces)

    assert timeless(pieces) == timeless(complete)


def test_a_study_at_work_says_that_it_is_no_evidence_yet(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        pack = agenda.next_pack()
        assert pack is not None
        train(agenda, pack)
        mirror(workspace, agenda=agenda)
        client = MlflowClient(database_uri(workspace))
        run = client.get_run(study_run_id("tiny"))
        assert "interim, not evidence" in run.data.tags["mlflow.note.content"]
        assert run.data.metrics["progress/members_done"] == len(pack.members)
        assert run.data.metrics["progress/members_planned"] == agenda.planned
        assert run.info.status == "KILLED"
        train_all(agenda)
        mirror(workspace, agenda=agenda)
    run = client.get_run(study_run_id("tiny"))
    assert "interim" not in run.data.tags["mlflow.note.content"]
    assert run.info.status == "FINISHED"


def test_while_a_study_runs_its_members_appear(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        tracker = Tracker(workspace, "tiny")
        tracker.watch(agenda)
        tracker.start()
        try:
            tracker.watch(agenda)
            pack = agenda.next_pack()
            assert pack is not None
            train(agenda, pack)
            until = time.monotonic() + 120
            while len(_members(workspace)) < len(pack.members):
                assert time.monotonic() < until, tracker.problem
                time.sleep(0.2)
        finally:
            tracker.stop()
    assert len(_members(workspace)) == len(pack.members)


def _is_member(run: Run) -> bool:
    return bool(run.data.tags["groundrules.kind"] == "member")


def _histories(workspace: Path) -> set[tuple[str, str, int, float]]:
    """Every point of every curve."""
    client = MlflowClient(database_uri(workspace))
    return {
        (run.info.run_id, key, point.step, point.value)
        for run in runs(workspace)
        for key in run.data.metrics
        if key.startswith(("curve/", "layers/"))
        for point in client.get_metric_history(run.info.run_id, key)
    }


def _members(workspace: Path) -> list[Run]:
    if not (workspace / "mlflow.db").is_file():
        return []
    client = MlflowClient(database_uri(workspace))
    experiment = client.get_experiment_by_name("tiny")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], "tags.`groundrules.kind` = 'member'"))


def test_data_sets_are_inputs_of_the_study_run(complete: Path) -> None:
    mirror(complete)
    mirror(complete)
    found = MlflowClient(database_uri(complete)).get_run(study_run_id("tiny")).inputs
    assert found is not None
    inputs = found.dataset_inputs
    with Ledger.open(complete) as ledger:
        facts = ledger.study("tiny").protocol["facts"]
    assert {(i.dataset.name, i.dataset.digest) for i in inputs} == {
        (f["name"], f["content_hash"]) for f in facts
    }
    assert len(inputs) == len(facts)


def test_a_store_that_cannot_be_written_is_reported_and_made_up_for(complete: Path) -> None:
    (complete / "mlflow.db").mkdir()
    tracker = mirror(complete)
    assert tracker.problem
    (complete / "mlflow.db").rmdir()
    assert mirror(complete).problem == ""
    with Ledger.open(complete) as ledger:
        assert len(_members(complete)) == len(ledger.evaluations("tiny"))


def test_a_ledger_that_is_gone_is_no_fault_of_mlflow(
    complete: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run itself says that it is gone."""
    monkeypatch.setattr(logging.getLogger("groundrules"), "propagate", True)
    for file in complete.glob("ledger.sqlite*"):
        file.unlink()
    assert "no ledger here" in mirror(complete).problem
    assert "MLflow is behind" not in caplog.text


def test_a_store_that_is_no_database_is_set_aside_and_made_anew(complete: Path) -> None:
    (complete / "mlflow.db").write_text("my notes\n", encoding="utf-8")
    assert mirror(complete).problem == ""
    assert (complete / "mlflow.db.damaged-1").read_text(encoding="utf-8") == "my notes\n"
    assert len(_members(complete)) > 0


def test_a_complete_mirrored_study_is_left_alone(complete: Path) -> None:
    ledger, fixed = started(complete)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        mirror(complete, agenda=agenda)
        before = (complete / "mlflow.db").read_bytes()
        mirror(complete, agenda=agenda)
        assert (complete / "mlflow.db").read_bytes() == before
        (complete / "mlflow.db").unlink()
        mirror(complete, agenda=agenda)
    assert len(_members(complete)) > 0


def test_the_report_is_an_artifact_of_the_study_run(complete: Path, tmp_path: Path) -> None:
    tracker = mirror(complete)
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("first", encoding="utf-8")
    tracker.log_report(pages)
    (pages / "index.html").write_text("second", encoding="utf-8")
    tracker.log_report(pages)
    client = MlflowClient(database_uri(complete))
    assert [f.path for f in client.list_artifacts(study_run_id("tiny"), "report")] == ["report/index.html"]
    copied = client.download_artifacts(study_run_id("tiny"), "report/index.html")
    assert Path(copied).read_text(encoding="utf-8") == "second"
