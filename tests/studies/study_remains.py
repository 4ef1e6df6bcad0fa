"""A small study with everything that a run leaves, and what is left of it wherever it may lie."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from reports.io.safe_paths import own_folder, write
from studies.ledger import whole_study
from studies.ledger.ledger import Ledger
from studies.site import site_of
from studies.tracking import tracker as tracking
from studies.tracking.artifact_folder import ArtifactFolder
from studies.tracking.report_artifacts import location_of
from studies.tracking.tracker import Tracker
from tests.studies.mlflow_tables import Ask
from tests.studies.planted import agenda_of, planned, started, tiny, train, train_all

SMALL: dict[str, Any] = {
    "tasks": ["stripes", "rings"],
    "regimes": {"shallow": {"depth": 1}},
    "budget": {"families": 2, "blocks": 1, "trials": 2},
}


def fill(workspace: Path, name: str = "tiny", *, packs: int | None = None) -> None:
    """Trains (made-up results), mirrors into MLflow and writes a page; a second call goes on.

    Args:
        workspace: its folder.
        name: of the study.
        packs: train only so many.
    """
    ledger, fixed = started(workspace, planned(tiny(study=name, **SMALL)))
    with closing(ledger):
        agenda = agenda_of(ledger, fixed)
        if packs is None:
            train_all(agenda)
        for _ in range(packs or 0):
            pack = agenda.next_pack()
            assert pack is not None
            train(agenda, pack)
    mirror(workspace, name)
    page(workspace, name)


def mirror(workspace: Path, name: str = "tiny") -> None:
    """Brings MLflow up to date, as the end of a run does."""
    tracker = Tracker(workspace, name)
    tracker.start()
    tracker.stop()
    assert tracker.problem == ""


def page(workspace: Path, name: str = "tiny") -> None:
    """A page with a figure, in the workspace and beside MLflow's runs, and a file of the user's there."""
    folder = own_folder(workspace, "reports", name)
    write(folder / "index.html", f"<title>{name}</title>")
    write(own_folder(folder, "figures") / "one.svg", "<svg/>")
    tracking.log_report(workspace, name, folder)
    ArtifactFolder(location_of(site_of(workspace), name)).write("mine/notes.txt", b"kept by hand")


def ledger_rows(workspace: Path, study: str) -> dict[str, list[Any]]:
    """Table -> its rows of the study, as they are stored."""
    with Ledger.open(workspace) as ledger:
        return {
            table: [tuple(row) for row in whole_study.stored_rows(ledger.database, table, study, list)]
            for table in whole_study.TABLES
        }


def files(workspace: Path, study: str) -> dict[str, bytes]:
    """Files of the study's own in the workspace, but for its lock."""
    return {
        path.relative_to(workspace).as_posix(): path.read_bytes()
        for top in ("reports", "artifacts", "extensions")
        for path in sorted((workspace / top).rglob("*"))
        if path.is_file() and study in "/".join(path.relative_to(workspace).parts)
    }


def remains(workspace: Path, study: str, ask: Ask) -> list[str]:
    """What is left of a study after it was deleted, whatever it is; [] where nothing is."""
    left = [f"ledger: {table}" for table, rows in ledger_rows(workspace, study).items() if rows]
    left += list(files(workspace, study))
    left += [f"experiment {name}" for (name,) in ask("SELECT name FROM experiments") if study in str(name)]
    return left + _without_experiment(ask)


def _without_experiment(ask: Ask) -> list[str]:
    """Rows of MLflow's tables whose run or experiment is gone."""
    runs = {run for (run,) in ask("SELECT run_uuid FROM runs")}
    experiments = {number for (number,) in ask("SELECT experiment_id FROM experiments")}
    asked: Sequence[tuple[str, str, set[Any]]] = (
        ("runs", "experiment_id", experiments),
        ("datasets", "experiment_id", experiments),
        ("experiment_tags", "experiment_id", experiments),
        ("tags", "run_uuid", runs),
        ("params", "run_uuid", runs),
        ("metrics", "run_uuid", runs),
        ("latest_metrics", "run_uuid", runs),
        ("inputs", "destination_id", runs),
    )
    found = []
    for table, column, known in asked:
        if {value for (value,) in ask(f"SELECT DISTINCT {column} FROM {table}")} - known:
            found.append(f"rows of {table}")
    inputs = {one for (one,) in ask("SELECT input_uuid FROM inputs")}
    if {one for (one,) in ask("SELECT DISTINCT input_uuid FROM input_tags")} - inputs:
        found.append("rows of input_tags")
    return found
