"""A deleted study leaves nothing anywhere, a compacted one all that it needs, and a kill no half of them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from studies.cli import invoke
from studies.ledger import whole_study
from studies.ledger.free_space import vacuum
from studies.ledger.ledger import Ledger
from studies.ledger.sqlite import SqliteDatabase
from studies.lifecycle import removal
from studies.lifecycle.places import StudyPlaces
from studies.site import site_of
from studies.tracking import removal as experiments
from studies.tracking.database import DATABASE, postgresql_uri
from tests.mlflow_server import mlflow_server
from tests.postgres import Postgres
from tests.studies.mlflow_tables import Ask, held, sqlite
from tests.studies.study_remains import files, fill, ledger_rows, mirror, page, remains


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two studies."""
    workspace = tmp_path_factory.mktemp("filled")
    fill(workspace)
    fill(workspace, "other")
    return workspace


@pytest.fixture
def workspace(filled: Path, tmp_path: Path) -> Path:
    """A copy that a test may change; where a workspace was copied to, its MLflow runs are moved by a run."""
    place = tmp_path / "workspace"
    shutil.copytree(filled, place)
    return place


def mlflow(workspace: Path) -> Ask:
    return sqlite(workspace / DATABASE)


def groundrules(*words: str | Path, workspace: Path) -> int:
    return invoke([*map(str, words), "--workspace", str(workspace)])


def test_nothing_of_a_deleted_study_is_left_and_others_are_as_they_were(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ledger_rows(workspace, "other"), files(workspace, "other"), held(mlflow(workspace), "other")
    assert ledger_rows(workspace, "tiny")["evaluations"]
    assert groundrules("delete", "tiny", "--yes", workspace=workspace) == 0
    assert remains(workspace, "tiny", mlflow(workspace)) == []
    assert (
        ledger_rows(workspace, "other"),
        files(workspace, "other"),
        held(mlflow(workspace), "other"),
    ) == before
    assert groundrules("check", "other", workspace=workspace) == 0
    said = capsys.readouterr().out
    assert "deleted tiny: " in said
    assert " freed (ledger " in said
    index = (workspace / "reports" / "index.html").read_text(encoding="utf-8")
    assert "other" in index
    assert "tiny" not in index


def test_the_bytes_it_says_are_free_are_free(workspace: Path) -> None:
    def size() -> int:
        return sum(path.stat().st_size for path in workspace.rglob("*") if path.suffix in (".sqlite", ".db"))

    before = size()
    freed = removal.delete(workspace, "tiny")
    assert freed.notes == ()
    assert before - size() == freed.bytes["ledger"] + freed.bytes["tracking"] > 100_000
    assert freed.bytes["artifacts"] > 0
    assert freed.bytes["reports"] > 0


def test_a_study_of_the_same_name_can_be_begun_again(workspace: Path) -> None:
    rows, runs = ledger_rows(workspace, "tiny"), held(mlflow(workspace), "tiny")
    removal.delete(workspace, "tiny")
    fill(workspace)
    again = ledger_rows(workspace, "tiny")
    assert again["evaluations"] == rows["evaluations"]
    assert again["plans"][0][1:3] == rows["plans"][0][1:3]
    assert held(mlflow(workspace), "tiny").runs == runs.runs


def test_a_study_that_runs_is_left_alone(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = ledger_rows(workspace, "tiny"), files(workspace, "tiny"), held(mlflow(workspace), "tiny")
    with Ledger.open(workspace, create=True) as ledger, ledger.hold("tiny"):
        for words in (("delete", "tiny", "--yes"), ("compact", "tiny", "--yes"), ("archive", "tiny")):
            assert groundrules(*words, workspace=workspace) == 2
            assert f"in use by another run (pid {os.getpid()})" in capsys.readouterr().err
    assert (
        ledger_rows(workspace, "tiny"),
        files(workspace, "tiny"),
        held(mlflow(workspace), "tiny"),
    ) == before


def test_a_study_that_another_one_extends_is_not_deleted(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger.open(workspace, create=True) as ledger:
        row = ledger.study("other")
        spec = {**row.protocol["spec"], "extends": {"study": "tiny", "protocol": "p", "plan": "q"}}
        ledger.start_study(replace(row, name="child", protocol={**row.protocol, "spec": spec}))
    assert groundrules("delete", "tiny", "--yes", workspace=workspace) == 2
    assert "study 'tiny' is extended by 'child'" in capsys.readouterr().err
    assert ledger_rows(workspace, "tiny")["evaluations"]
    removal.delete(workspace, "child")
    removal.delete(workspace, "tiny")
    assert remains(workspace, "tiny", mlflow(workspace)) == []


def test_it_asks_before_and_goes_on_only_with_a_yes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert groundrules("delete", "tiny", workspace=workspace) == 2
    assert "say --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", _answer(False))
    assert groundrules("delete", "tiny", workspace=workspace) == 130
    assert ledger_rows(workspace, "tiny")["evaluations"]
    monkeypatch.setattr("typer.confirm", _answer(True))
    assert groundrules("delete", "tiny", workspace=workspace) == 0
    assert remains(workspace, "tiny", mlflow(workspace)) == []


def test_a_name_that_is_not_there_is_a_mistake(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert groundrules("delete", "tinny", "--yes", workspace=workspace) == 2
    assert "tiny" in capsys.readouterr().err
    for words in (("delete", "tiny", "--yes"), ("compact",), ("archive", "tiny")):
        assert groundrules(*words, workspace=tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()


def test_a_damaged_study_can_be_deleted(workspace: Path) -> None:
    with Ledger.open(workspace, create=True) as ledger:
        ledger.database.write("tiny", lambda t, again: t.run("DELETE FROM studies WHERE name = 'tiny'"))
    removal.delete(workspace, "tiny")
    assert remains(workspace, "tiny", mlflow(workspace)) == []


Steps: dict[str, tuple[Any, str]] = {
    "as its experiment is removed": (removal, "remove_experiment"),
    "as its pages are removed": (StudyPlaces, "remove_report"),
    "as its rows are removed": (whole_study, "remove"),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", list(Steps))
def test_a_kill_leaves_a_whole_study_or_none_and_the_same_command_finishes(
    step: str, when: str, workspace: Path
) -> None:
    place, name = Steps[step]
    rows = ledger_rows(workspace, "tiny")
    _killed(lambda: _patched(place, name, when), lambda: removal.delete(workspace, "tiny"))
    gone = (step, when) == ("as its rows are removed", "after")
    assert ledger_rows(workspace, "tiny") == ({table: [] for table in rows} if gone else rows)
    if not gone:
        assert groundrules("check", "tiny", workspace=workspace) == 0
    assert groundrules("delete", "tiny", "--yes", workspace=workspace) == (2 if gone else 0)
    assert remains(workspace, "tiny", mlflow(workspace)) == []


@pytest.mark.parametrize("statement", range(1, 8))
def test_a_kill_within_the_transaction_leaves_every_row(statement: int, workspace: Path) -> None:
    rows = ledger_rows(workspace, "tiny")

    def patch() -> None:
        ran, count = SqliteDatabase.run, 0

        def run(self: SqliteDatabase, sql: str, values: Any = ()) -> int:
            nonlocal count
            count += 1
            if count > statement:
                os.kill(os.getpid(), signal.SIGKILL)
            return ran(self, sql, values)

        SqliteDatabase.run = run  # type: ignore[method-assign]

    _killed(patch, lambda: removal.delete(workspace, "tiny"))
    assert ledger_rows(workspace, "tiny") == rows
    removal.delete(workspace, "tiny")
    assert remains(workspace, "tiny", mlflow(workspace)) == []


def test_a_half_deleted_study_goes_on_as_if_nothing_had_happened(workspace: Path) -> None:
    runs = held(mlflow(workspace), "tiny")
    _killed(lambda: _patched(whole_study, "remove", "before"), lambda: removal.delete(workspace, "tiny"))
    mirror(workspace)
    assert held(mlflow(workspace), "tiny").rows == runs.rows


def test_compacting_removes_members_from_mlflow_and_nothing_else(workspace: Path) -> None:
    rows, before = ledger_rows(workspace, "tiny"), held(mlflow(workspace), "tiny")
    other = held(mlflow(workspace), "other")
    freed = removal.compact(workspace, "tiny")
    left = held(mlflow(workspace), "tiny")
    assert freed.bytes["tracking"] > 0
    assert freed.bytes["artifacts"] > 0
    assert ledger_rows(workspace, "tiny") == rows
    assert set(left.runs) == {run for run in before.runs if _kind(workspace, run) != "member"}
    assert 1 < len(left.runs) < len(before.runs)
    assert held(mlflow(workspace), "other") == other
    assert remains(workspace, "nobody", mlflow(workspace)) == []
    assert (workspace / "artifacts" / "tiny" / "mine" / "notes.txt").is_file()
    assert groundrules("check", "tiny", workspace=workspace) == 0


def test_what_was_compacted_does_not_come_back_and_what_is_new_does(tmp_path: Path) -> None:
    fill(tmp_path, packs=4)
    removal.compact(tmp_path, "tiny")
    left = held(mlflow(tmp_path), "tiny").runs
    mirror(tmp_path)
    page(tmp_path)
    assert held(mlflow(tmp_path), "tiny").runs == left
    fill(tmp_path)
    runs = held(mlflow(tmp_path), "tiny").runs
    evaluations = len(ledger_rows(tmp_path, "tiny")["evaluations"])
    members = sum(_kind(tmp_path, run) == "member" for run in runs)
    assert 0 < members < evaluations


def test_a_compacted_experiment_that_is_removed_comes_back_whole(workspace: Path) -> None:
    before = held(mlflow(workspace), "tiny")
    removal.compact(workspace, "tiny")
    experiments.remove_experiment(workspace, "tiny", "")
    mirror(workspace)
    assert held(mlflow(workspace), "tiny").rows == before.rows


def test_a_kill_while_compacting_leaves_all_members_or_none(workspace: Path) -> None:
    before = held(mlflow(workspace), "tiny")
    _killed(lambda: _patched(experiments, "counted", "after"), lambda: removal.compact(workspace, "tiny"))
    assert held(mlflow(workspace), "tiny") == before
    removal.compact(workspace, "tiny")
    assert len(held(mlflow(workspace), "tiny").runs) < len(before.runs)


def test_without_a_study_only_the_databases_are_shrunk(workspace: Path) -> None:
    rows, runs = ledger_rows(workspace, "tiny"), held(mlflow(workspace), "tiny")
    with Ledger.open(workspace, create=True) as ledger:
        whole_study.remove(ledger.database, "other")
    freed = removal.compact(workspace, None)
    assert freed.bytes["ledger"] > 0
    assert (ledger_rows(workspace, "tiny"), held(mlflow(workspace), "tiny")) == (rows, runs)


def test_a_file_in_use_is_left_as_it_is_and_said_so(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.ledger.free_space.BUSY_SECONDS", 0.1)
    with Ledger.open(workspace, create=True) as ledger:

        def while_writing(t: Any, again: bool) -> str:
            return vacuum(workspace / "ledger.sqlite")

        assert "was not shrunk (database is locked)" in ledger.database.write("tiny", while_writing)
    assert vacuum(workspace / "ledger.sqlite") == ""


@pytest.mark.parametrize("command", ["delete", "compact"])
def test_a_shared_ledger_and_store_are_cleared_the_same_way(
    command: str, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import create_engine

    monkeypatch.setenv("GROUNDRULES_LEDGER", postgres.database())
    address = postgres.database()
    monkeypatch.setenv("GROUNDRULES_TRACKING", address)
    monkeypatch.setenv("GROUNDRULES_ARTIFACTS", str(tmp_path / "shared"))
    workspace = tmp_path / "workspace"
    engine = create_engine(postgresql_uri(address))

    def ask(question: str) -> list[tuple[Any, ...]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(question)]

    fill(workspace)
    fill(workspace, "other")
    rows, runs, other = ledger_rows(workspace, "tiny"), held(ask, "tiny"), held(ask, "other")
    if command == "compact":
        removal.compact(workspace, "tiny")
        mirror(workspace)
        assert 1 < len(held(ask, "tiny").runs) < len(runs.runs)
        assert ledger_rows(workspace, "tiny") == rows
    else:
        with Ledger.open(workspace, create=True) as ledger, ledger.hold("tiny"):
            assert groundrules("delete", "tiny", "--yes", workspace=workspace) == 2
        removal.delete(workspace, "tiny")
        assert remains(workspace, "tiny", ask) == []
        assert not (tmp_path / "shared" / "tiny").exists()
        fill(workspace)
        assert ledger_rows(workspace, "tiny")["evaluations"] == rows["evaluations"]
        assert held(ask, "tiny").runs == runs.runs
    assert held(ask, "other") == other
    assert site_of(workspace).ledger
    engine.dispose()


def test_on_a_server_the_experiment_is_deleted_and_its_name_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.entities import ViewType
    from mlflow.tracking import MlflowClient

    workspace = tmp_path / "workspace"
    with mlflow_server(tmp_path / "server") as server:
        address = f"http://127.0.0.1:{server.port}"
        monkeypatch.setenv("GROUNDRULES_TRACKING", address)
        monkeypatch.setenv("GROUNDRULES_ARTIFACTS", str(tmp_path / "shared"))
        client = MlflowClient(address)

        def experiments_of(view: int) -> list[str]:
            return sorted(e.name for e in client.search_experiments(view) if "tiny" in e.name)

        fill(workspace, packs=1)
        (first,) = [e for e in client.search_experiments() if e.name == "tiny"]
        with pytest.MonkeyPatch.context() as lost:  # the server is asked twice, as after a kill
            lost.setattr(whole_study, "remove", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                removal.delete(workspace, "tiny")
        freed = removal.delete(workspace, "tiny")
        assert experiments_of(ViewType.ACTIVE_ONLY) == []
        assert experiments_of(ViewType.DELETED_ONLY) == [f"tiny (deleted {first.experiment_id})"]
        assert not any(ledger_rows(workspace, "tiny").values())
        assert not (tmp_path / "shared" / "tiny").exists()
        assert freed.bytes["tracking"] == 0
        assert "only its operator" in removal.compact(fill_again(workspace), "tiny").notes[0]
        assert experiments_of(ViewType.ACTIVE_ONLY) == ["tiny"]


def fill_again(workspace: Path) -> Path:
    """The same study from its beginning."""
    fill(workspace, packs=1)
    return workspace


def _interrupt(*words: object) -> None:
    raise KeyboardInterrupt


def _kind(workspace: Path, run: str) -> str:
    """The kind of a run; of one that is gone, it is a member."""
    sql = f"SELECT value FROM tags WHERE run_uuid = '{run}' AND key = 'groundrules.kind'"
    rows = mlflow(workspace)(sql)
    return str(rows[0][0]) if rows else "member"


def _answer(word: bool) -> Callable[..., bool]:
    def confirm(question: str, *, abort: bool, err: bool) -> bool:
        import typer

        if not word:
            raise typer.Abort
        return True

    return confirm


def _patched(place: Any, name: str, when: str) -> None:
    """Kills this process as it calls `name` of `place`, before or after it has done its work."""
    real = getattr(place, name)

    def killing(*words: Any, **named: Any) -> Any:
        if when == "after":
            real(*words, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, killing)


def _killed(patch: Callable[[], None], work: Callable[[], object]) -> None:
    """Runs `work` in a process that is killed by what `patch` has set up."""

    def both() -> None:
        patch()
        work()

    process = get_context("fork").Process(target=both)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
