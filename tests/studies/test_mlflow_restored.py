"""What was removed from a workspace's MLflow file, or spoiled, or moved, is back after the same command."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from studies.ledger.ledger import Ledger
from studies.tracking import sqlite as mlflow_sqlite
from studies.tracking.bulk_rows import KEYS
from studies.tracking.database import DATABASE, DatabaseStore, database_uri
from studies.tracking.experiment import LARGEST
from studies.tracking.runs import MetricPoint, RunRecord, study_run_id
from studies.tracking.sync import open_store
from studies.tracking.tracker import Tracker, log_report
from tests.studies.mlflow_tables import Held, held, sqlite
from tests.studies.planted import agenda_of, started, train, train_all
from tests.studies.test_tracking import curved, mirror

STUDY_RUN = study_run_id("tiny")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study that MLflow has all of."""
    workspace = tmp_path_factory.mktemp("template") / "workspace"
    ledger, fixed = started(workspace)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        train_all(agenda, make=curved)
        assert mirror(workspace, agenda=agenda).problem == ""
    pages = workspace / "reports" / "tiny"
    pages.mkdir(parents=True)
    (pages / "index.html").write_text("the report", encoding="utf-8")
    log_report(workspace, "tiny", pages)
    return workspace


@pytest.fixture
def mirrored(template: Path, workspace: Path) -> Path:
    """A workspace of one's own, moved from where it was made, and repaired."""
    shutil.copytree(template, workspace)
    again(workspace)
    return workspace


def again(workspace: Path) -> str:
    """What the same `run` does to MLflow; what it says of a problem."""
    ledger, fixed = started(workspace)
    with ledger:
        return mirror(workspace, agenda=agenda_of(ledger, fixed)).problem


def client_of(workspace: Path) -> tuple[MlflowClient, str]:
    """MLflow's own client, and the id of the study's experiment."""
    client = MlflowClient(database_uri(workspace))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return client, experiment.experiment_id


def here(workspace: Path) -> Held:
    return held(sqlite(workspace / DATABASE), "tiny")


def change(workspace: Path, *statements: str) -> None:
    """As a person, or another program, with the file open."""
    with closing(sqlite3.connect(workspace / DATABASE)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def experiment_deleted(workspace: Path) -> None:
    client, experiment = client_of(workspace)
    client.delete_experiment(experiment)


def runs_deleted(workspace: Path) -> None:
    client, experiment = client_of(workspace)
    for run in client.search_runs([experiment], max_results=7):
        client.delete_run(run.info.run_id)


def study_run_deleted(workspace: Path) -> None:
    client_of(workspace)[0].delete_run(STUDY_RUN)


def purged(workspace: Path) -> None:
    """As `mlflow gc` after the experiment was deleted."""
    experiment_deleted(workspace)
    tables = ("metrics", "latest_metrics", "params", "tags")
    change(
        workspace,
        *(f"DELETE FROM {table} WHERE run_uuid IN (SELECT run_uuid FROM runs)" for table in tables),
        *("DELETE FROM inputs", "DELETE FROM input_tags", "DELETE FROM datasets", "DELETE FROM runs"),
        "DELETE FROM experiment_tags WHERE experiment_id > 0",
        "DELETE FROM experiments WHERE experiment_id > 0",
    )


def runs_purged(workspace: Path) -> None:
    some = "(SELECT run_uuid FROM tags WHERE key = 'groundrules.kind' AND value = 'member' LIMIT 9)"
    with closing(sqlite3.connect(workspace / DATABASE)) as connection, connection:
        gone = connection.execute(some.strip("()")).fetchall()
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            connection.executemany(f"DELETE FROM {table} WHERE run_uuid = ?", gone)


def experiment_row_removed(workspace: Path) -> None:
    """The runs stay behind, of an experiment that is none; the next one gets another number."""
    other = "INSERT INTO experiments VALUES (7, 'other', 'file:///other', 'active', 0, 0, 'default')"
    change(workspace, other, "DELETE FROM experiments WHERE name = 'tiny'")


def points_removed(workspace: Path) -> None:
    change(workspace, "DELETE FROM metrics WHERE key = 'validation/metric'")


def cut_off(workspace: Path) -> None:
    file = workspace / DATABASE
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(workspace: Path) -> None:
    (workspace / DATABASE).write_bytes(b"")


def removed(workspace: Path) -> None:
    (workspace / DATABASE).unlink()


def head_overwritten(workspace: Path) -> None:
    with (workspace / DATABASE).open("r+b") as file:
        file.write(bytes(100))


def pages_overwritten(workspace: Path) -> None:
    file = workspace / DATABASE
    draw, size = random.Random(3), file.stat().st_size
    with file.open("r+b") as content:
        for _ in range(20):
            content.seek(draw.randrange(4096, size - 4096) // 4096 * 4096)
            content.write(draw.randbytes(4096))


FAULTS: dict[str, Callable[[Path], None]] = {
    fault.__name__: fault
    for fault in (
        experiment_deleted, runs_deleted, study_run_deleted, purged, runs_purged, experiment_row_removed,
        points_removed, cut_off, emptied, removed, head_overwritten, pages_overwritten,
    )
}  # fmt: skip
SPOILED = ("cut_off", "emptied", "head_overwritten", "pages_overwritten")


@pytest.mark.parametrize("fault", list(FAULTS))
def test_the_same_command_brings_it_back(mirrored: Path, fault: str) -> None:
    before = here(mirrored)
    FAULTS[fault](mirrored)
    spoiled = (mirrored / DATABASE).read_bytes() if fault in SPOILED else b""
    assert again(mirrored) == ""
    assert here(mirrored) == before
    client, experiment = client_of(mirrored)
    assert client.get_experiment(experiment).lifecycle_stage == "active"
    assert {run.info.status for run in client.search_runs([experiment], max_results=5000)} == {"FINISHED"}
    assert len(client.get_run(STUDY_RUN).inputs.dataset_inputs) == 3  # type: ignore[union-attr]
    orphans = "SELECT COUNT(*) FROM runs WHERE experiment_id NOT IN (SELECT experiment_id FROM experiments)"
    assert sqlite(mirrored / DATABASE)(orphans) == [(0,)]
    aside = [file.read_bytes() for file in mirrored.glob("mlflow.db.damaged-*")]
    assert aside == ([spoiled] if fault in SPOILED else []), "set aside, never deleted"
    settled = (mirrored / DATABASE).read_bytes()
    assert again(mirrored) == ""
    assert (mirrored / DATABASE).read_bytes() == settled, "what is whole is left alone"


@pytest.mark.parametrize("fault", ["experiment_deleted", "purged", "cut_off"])
def test_a_file_from_before_it_was_noted_how_much_there_is(mirrored: Path, fault: str) -> None:
    before = here(mirrored)
    change(mirrored, "DELETE FROM experiment_tags WHERE key = 'groundrules.held'")
    (mirrored / "artifacts" / "tiny" / "mirrored").write_text("99 12345 members", encoding="utf-8")
    FAULTS[fault](mirrored)
    assert again(mirrored) == ""
    assert here(mirrored) == before


@pytest.mark.parametrize(
    ("fault", "pause"),
    [
        *((fault, 0.2) for fault in ("experiment_deleted", "purged", "experiment_row_removed", "removed")),
        ("runs_purged", 0.2),
        ("runs_purged", 600),  # only the look at the end is left to notice it
    ],
)
def test_what_is_removed_in_the_middle_of_a_run_is_there_at_its_end(
    workspace: Path, template: Path, fault: str, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.tracking.tracker.LOOK_SECONDS", 0.2)
    ledger, fixed = started(workspace)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        tracker = Tracker(workspace, "tiny")
        tracker.watch(agenda)
        tracker.start()
        for number in range(1000):
            pack = agenda.next_pack()
            if pack is None:
                break
            train(agenda, pack, curved)
            tracker.watch(agenda)
            if number == 20:
                until = time.monotonic() + 60
                while not (workspace / DATABASE).exists() or not runs_of(workspace):
                    assert time.monotonic() < until, tracker.problem
                    time.sleep(0.1)
                monkeypatch.setattr("studies.tracking.tracker.LOOK_SECONDS", pause)
                time.sleep(1.0)  # the pause that has begun is over
                FAULTS[fault](workspace)
        tracker.stop()
    assert tracker.problem == ""
    assert set(here(workspace).runs) == set(here(template).runs)
    orphans = "SELECT COUNT(*) FROM runs WHERE experiment_id NOT IN (SELECT experiment_id FROM experiments)"
    assert sqlite(workspace / DATABASE)(orphans) == [(0,)]


def runs_of(workspace: Path) -> int:
    try:
        ((found,),) = sqlite(workspace / DATABASE)("SELECT COUNT(*) FROM runs")
    except sqlite3.OperationalError:
        return 0
    return int(found)


def test_what_a_person_has_added_stays_and_hides_nothing(mirrored: Path) -> None:
    client, experiment = client_of(mirrored)
    own = client.create_run(experiment, run_name="mine").info.run_id
    client.log_metric(own, "mine", 1.0)
    client.set_tag(STUDY_RUN, "note", "looks good")
    runs_purged(mirrored)
    for _ in range(9):
        client.create_run(experiment)
    assert again(mirrored) == ""
    with Ledger.open(mirrored) as ledger:
        members = len(ledger.evaluations("tiny"))
    found = client.search_runs([experiment], "tags.`groundrules.kind` = 'member'", max_results=5000)
    assert len(found) == members
    assert client.get_run(own).data.metrics == {"mine": 1.0}
    assert client.get_run(STUDY_RUN).data.tags["note"] == "looks good"


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_workspace_elsewhere_has_its_artifacts_there(template: Path, tmp_path: Path, how: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second place"
    shutil.copytree(template, first)
    again(first)
    change(first, "INSERT INTO experiments VALUES (7, 'other', NULL, 'active', 0, 0, 'default')")
    other = (first / "artifacts" / "other").as_uri()
    change(first, f"UPDATE experiments SET artifact_location = '{other}' WHERE name = 'other'")
    if how == "moved":
        shutil.move(first, second)
    else:
        shutil.copytree(first, second)
        (first / "artifacts" / "tiny" / STUDY_RUN / "artifacts" / "report" / "index.html").write_text(
            "of first"
        )
    assert again(second) == ""
    log_report(second, "tiny", second / "reports" / "tiny")
    client, experiment = client_of(second)
    assert client.get_experiment(experiment).artifact_location == (second / "artifacts/tiny").as_uri()
    renamed = client.get_experiment_by_name("other")
    assert renamed is not None and renamed.artifact_location == (second / "artifacts/other").as_uri()
    for run in client.search_runs([experiment], max_results=5000):
        assert run.info.artifact_uri == f"{(second / 'artifacts/tiny').as_uri()}/{run.info.run_id}/artifacts"
    copied = client.download_artifacts(STUDY_RUN, "report/index.html")
    assert Path(copied).read_text(encoding="utf-8") == "the report"
    if how == "copied":
        left = first / "artifacts" / "tiny" / STUDY_RUN / "artifacts" / "report" / "index.html"
        assert left.read_text(encoding="utf-8") == "of first"
        ((uri,),) = sqlite(first / DATABASE)("SELECT artifact_location FROM experiments WHERE name = 'tiny'")
        assert uri == (first / "artifacts/tiny").as_uri()


def store_of(workspace: Path) -> DatabaseStore:
    with Ledger.open(workspace) as ledger:
        store = open_store(workspace, ledger.study("tiny"))
    assert isinstance(store, DatabaseStore)
    return store


@pytest.mark.parametrize("lacks", ["value", "step", "ms"])
def test_a_row_that_lacks_a_value_is_an_error_and_nothing_is_written(mirrored: Path, lacks: str) -> None:
    store = store_of(mirrored)
    before = here(mirrored)
    column = {"value": 2, "step": 5, "ms": 4}[lacks]
    row = tuple(None if at == column else value for at, value in enumerate(("r", "x", 1.0, False, 1, 0)))
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"), store._begin() as execute:
        store._dialect.insert(execute, {"metrics": [row]})
    assert here(mirrored) == before
    store.close()


def test_rows_are_found_again_by_the_keys_of_the_tables(mirrored: Path) -> None:
    with closing(sqlite3.connect(mirrored / DATABASE)) as connection:
        for table, key in KEYS.items():
            info = connection.execute(f"PRAGMA table_info({table})").fetchall()
            assert {row[1] for row in info if row[5]} == set(key), table


def test_a_value_that_is_larger_than_a_double_is_stored_as_the_largest(mirrored: Path) -> None:
    store = store_of(mirrored)
    run = RunRecord(
        id="f" * 32,
        name="x",
        start_ms=1,
        end_ms=2,
        tags={},
        metrics=(MetricPoint(key="x", value=1e999, ms=1),),
    )
    store.write([run])
    store.close()
    assert sqlite(mirrored / DATABASE)(f"SELECT value FROM metrics WHERE run_uuid = '{'f' * 32}'") == [
        (LARGEST,)
    ]


def test_tables_that_no_test_has_seen_are_written_by_mlflows_own_client(
    mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    should = here(mirrored)
    other = tmp_path / "other"
    other.mkdir()
    for file in mirrored.glob("ledger.sqlite*"):
        shutil.copy(file, other)
    written: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_sqlite, "SEEN", frozenset())
        patch.setattr("studies.tracking.tracker.SEEN", frozenset())
        patch.setattr(DatabaseStore, "write", lambda *args, **more: written.append("directly"))
        assert again(other) == ""
        assert (here(other), written) == (should, [])
        client, experiment = client_of(other)
        client.delete_experiment(experiment)
        assert again(other) == ""
        for run in client.search_runs([experiment], max_results=5):
            client.delete_run(run.info.run_id)
        assert again(other) == ""
        assert here(other) == should
        assert not client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY), "they came back"
        (ours,) = client.search_runs([experiment], "tags.`groundrules.kind` = 'study'")
        pages = mirrored / "reports" / "tiny"
        log_report(other, "tiny", pages)
        copied = client.download_artifacts(ours.info.run_id, "report/index.html")
        assert Path(copied).read_text(encoding="utf-8") == "the report"
    assert again(other) == "", "what MLflow's calls have begun, they go on with"
    assert here(other) == should


def test_a_file_of_another_revision_is_not_touched(mirrored: Path) -> None:
    change(mirrored, "UPDATE alembic_version SET version_num = 'of-another'")
    experiment_deleted_by_hand = "UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'tiny'"
    change(mirrored, experiment_deleted_by_hand)
    before = (mirrored / DATABASE).read_bytes()
    assert "of-another" in again(mirrored)
    assert (mirrored / DATABASE).read_bytes() == before


def test_only_revisions_that_ship_as_tables_are_written_directly() -> None:
    tables = Path(mlflow_sqlite.__file__).parent / "tables"
    kept = {mlflow_sqlite.REVISION.search(file.read_text(encoding="utf-8")) for file in tables.glob("*.sql")}
    assert {found[1] for found in kept if found} == mlflow_sqlite.SEEN


def test_deleted_runs_are_seen_as_deleted_by_mlflow(mirrored: Path) -> None:
    """What the tests above delete really is: their right value would else be there from the start."""
    client, experiment = client_of(mirrored)
    runs_deleted(mirrored)
    assert len(client.search_runs([experiment], "", ViewType.DELETED_ONLY)) == 7
