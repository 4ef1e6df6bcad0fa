"""A workspace's MLflow file is made and written without MLflow, and is what MLflow would have made of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from infra.make_mlflow_tables import tables_made
from studies.ledger.ledger import Ledger
from studies.tracking import sqlite
from studies.tracking.database import DATABASE, database_uri
from studies.tracking.tracker import Tracker
from tests.studies.planted import agenda_of, started, train_all
from tests.studies.test_tracking import curved, mirror

ROOT = Path(__file__).parents[2]
OF_THE_MOMENT = frozenset(
    ("creation_time", "last_update_time", "end_time", "dataset_uuid", "input_uuid", "source_id")
)
WRITTEN = (
    *("experiments", "experiment_tags", "runs", "params", "tags", "metrics", "latest_metrics"),
    *("datasets", "inputs", "input_tags", "alembic_version", "workspaces"),
)


def rows(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Table -> its rows, without what hangs on the moment of writing."""
    found = {}
    with closing(sqlite3.connect(database)) as connection:
        for table in WRITTEN:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            kept = ", ".join(f'"{name}"' for name in names if name not in OF_THE_MOMENT)
            asked = f"SELECT {kept} FROM {table}"
            if table in ("metrics", "latest_metrics"):
                asked += " WHERE key NOT LIKE 'progress/%'"
            found[table] = sorted(connection.execute(asked).fetchall(), key=repr)
    return found


def schema(tables: str) -> set[tuple[str, ...]]:
    """Every statement that makes a table, an index or a trigger, or fills one: its parts, in no order.

    MLflow's migrations go through sets, so that the constraints of a table stand in another order every time.
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(tables)
        lines = [" ".join(line.split()).rstrip("); ") for line in connection.iterdump()]
    return {tuple(sorted(part.rstrip(") ") for part in line.split(", "))) for line in lines}


def test_the_tables_that_ship_are_those_that_mlflow_makes(tmp_path: Path) -> None:
    ours = sqlite.sqlite_tables()
    if ours is None:
        pytest.skip("no tables are kept of the installed version of MLflow, which makes its own")
    assert schema(ours) == schema(tables_made(tmp_path))


def test_the_file_holds_what_mlflow_itself_would_have_written(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        train_all(agenda, make=curved)
    assert mirror(workspace, agenda=agenda).problem == ""
    without = rows(workspace / DATABASE)
    assert len(without["runs"]) > 100
    assert len(without["inputs"]) == len(without["datasets"]) > 1
    (workspace / DATABASE).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "sqlite_tables", lambda: None)
        assert mirror(workspace, agenda=agenda).problem == ""
    assert rows(workspace / DATABASE) == without


def test_a_file_that_mlflow_has_begun_is_gone_on_with(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        train_all(agenda_of(ledger, fixed), make=curved)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "sqlite_tables", lambda: None)
        assert mirror(workspace, detail="cells").problem == ""
    client = MlflowClient(database_uri(workspace))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert mirror(workspace, detail="members").problem == ""
    again = client.get_experiment_by_name("tiny")
    assert again is not None
    assert (again.experiment_id, again.lifecycle_stage) == (experiment.experiment_id, "active")
    with Ledger.open(workspace) as reader:
        members = len(reader.evaluations("tiny"))
    found = client.search_runs([again.experiment_id], "tags.`groundrules.kind` = 'member'", max_results=5000)
    assert len(found) == members


def test_a_file_of_another_version_is_left_to_mlflow(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        train_all(agenda_of(ledger, fixed), make=curved)
    assert mirror(workspace).problem == ""
    with closing(sqlite3.connect(workspace / DATABASE)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of-another'")
    tracker = Tracker(workspace, "tiny", detail="curves")
    tracker.start()
    tracker.stop()
    assert "of-another" in tracker.problem or "schema" in tracker.problem


def test_a_study_is_run_and_mirrored_without_loading_mlflow(workspace: Path) -> None:
    script = (
        "import sys; from studies.cli import invoke;"
        "code = invoke(sys.argv[1:]); sys.exit(code or ('mlflow' in sys.modules and 3))"
    )
    words = [
        "run",
        str(ROOT / "tests/blackbox/tiny.yaml"),
        "--engine",
        "inline",
        "--workspace",
        str(workspace),
    ]
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, check=False)
    assert done.returncode == 0
    client = MlflowClient(database_uri(workspace))
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    found = client.search_runs([experiment.experiment_id], max_results=5000)
    assert {run.info.status for run in found} == {"FINISHED"}
