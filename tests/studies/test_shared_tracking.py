"""MLflow on a server or in a PostgreSQL holds what the ledger holds, once, whatever happened in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from studies.cli import invoke
from studies.comparison.protocol import ComparisonProtocol
from studies.execution.scheduler import Scheduler
from studies.ledger.ledger import Ledger
from studies.site import site_of
from studies.tracking import server as over_http
from studies.tracking import tracker as tracking
from studies.tracking.database import database_uri, postgresql_uri
from studies.tracking.tracker import Tracker, log_report
from tests.browser import Browser
from tests.faults.proxy import Behaviour, FaultyProxy, faulty_proxy
from tests.mlflow_pages import study_pages
from tests.mlflow_server import MlflowServer, free_port, mlflow_server
from tests.postgres import PASSWORD, Postgres
from tests.studies.mlflow_tables import Ask, Held, held, runs_so_far, sqlite
from tests.studies.planted import agenda_of, planned, started, tiny, train, train_all
from tests.studies.test_tracking import curved

SMALL: dict[str, Any] = {
    "tasks": ["stripes", "rings"],
    "regimes": {"shallow": {"depth": 1}},
    "budget": {"families": 2, "blocks": 1, "trials": 2},
}
"""76 members in 12 cells."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A shared store, and how to look into it."""

    address: str
    ask: Ask


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[FaultyProxy]:
    with faulty_proxy(server.port) as between:
        yield between


@pytest.fixture(params=["server", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "server":
        return behind(request.getfixturevalue("server"))
    there: Place = request.getfixturevalue("database")
    return there


@pytest.fixture
def database(postgres: Postgres) -> Place:
    """In PostgreSQL; one for all who need no empty one: to make MLflow's tables takes seconds."""
    return inside(postgres, _database(postgres))


@cache
def _database(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with MLflow's tables and nothing in them."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("blank")
    SqlAlchemyStore(database_uri(folder), folder.as_uri()).engine.dispose()
    return folder / "mlflow.db"


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    """A name of its own for every test: they share a server. MLflow takes addresses of 200 characters."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[-40:].strip("-").lower()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages of tests last seconds."""
    monkeypatch.setattr(tracking, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(tracking, "LONGEST_PAUSE", 1.0)
    for name, value in over_http.WAITS.items():
        monkeypatch.setenv(name, value)  # so that other tests do not inherit them


def behind(server: MlflowServer, address: str = "") -> Place:
    return Place(address=address or server.address, ask=sqlite(server.folder / "mlflow.db"))


def inside(postgres: Postgres, address: str) -> Place:
    return Place(address=address, ask=lambda question: postgres.execute(question, address))


def site(workspace: Path, **keys: str) -> Path:
    """A workspace with a site file."""
    workspace.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{key}: {value}\n" for key, value in keys.items())
    (workspace / "site.yaml").write_text(text, encoding="utf-8")
    return workspace


def begun(workspace: Path, study: str, started_ms: int = 0) -> tuple[Ledger, ComparisonProtocol, Scheduler]:
    """A small study in a workspace's ledger, nothing trained."""
    fixed = planned(tiny(study=study, **SMALL))
    if started_ms:
        with Ledger.open(workspace, create=True) as ledger:
            template, _ = started(workspace / "template", fixed)
            with template:
                ledger.start_study(replace(template.study(study), started_ms=started_ms))
    ledger, _ = started(workspace, fixed)
    return ledger, fixed, agenda_of(ledger, fixed)


def trained(workspace: Path, study: str, started_ms: int = 0) -> Path:
    """The same, complete."""
    ledger, _, agenda = begun(workspace, study, started_ms)
    with ledger:
        train_all(agenda, make=curved)
    return workspace


def mirror(workspace: Path, study: str, *, detail: Any = "members") -> Tracker:
    """One tracker from start to stop, as a run of the same command has it."""
    ledger, _, agenda = begun(workspace, study)
    with ledger:
        tracker = Tracker(workspace, study, detail=detail)
        tracker.watch(agenda)
        tracker.start()
        tracker.stop()
    return tracker


Own = Callable[..., Held]
"""(workspace, study, detail) -> what the workspace's own SQLite store says of the same ledger."""


@pytest.fixture
def own(tmp_path: Path, blank: Path) -> Own:
    """The measure for the others."""

    def says(workspace: Path, study: str, detail: Any = "members") -> Held:
        elsewhere = tmp_path / f"own-{study}"
        elsewhere.mkdir()
        for file in (*workspace.glob("ledger.sqlite*"), blank):
            (elsewhere / file.name).write_bytes(file.read_bytes())
        assert mirror(elsewhere, study, detail=detail).problem == ""
        return held(sqlite(elsewhere / "mlflow.db"), study)

    return says


def test_it_holds_what_the_workspaces_own_store_would_and_a_repetition_adds_nothing(
    place: Place, study: str, workspace: Path, own: Own
) -> None:
    trained(site(workspace, tracking=place.address), study)
    should = own(workspace, study)
    assert mirror(workspace, study).problem == ""
    assert held(place.ask, study) == should
    assert set(should.runs.values()) == {1}
    assert not (workspace / "mlflow.db").exists()

    assert mirror(workspace, study).problem == ""
    assert held(place.ask, study) == should


def test_more_detail_adds_what_is_missing(place: Place, study: str, workspace: Path, own: Own) -> None:
    trained(site(workspace, tracking=place.address), study)
    for detail in ("evidence", "curves"):
        assert mirror(workspace, study, detail=detail).problem == ""
    assert held(place.ask, study) == own(workspace, study, "curves")


def at_work(workspace: Path, study: str, fault: Any, repair: Any) -> Tracker:
    """A run in whose middle something happens, which is over before the end of the run."""
    ledger, _, agenda = begun(workspace, study)
    with ledger:
        tracker = Tracker(workspace, study)
        tracker.start()
        for number in range(1000):
            pack = agenda.next_pack()
            if pack is None:
                break
            train(agenda, pack, curved)
            tracker.watch(agenda)
            time.sleep(0.02)
            if number == 8:
                fault()
        until = time.monotonic() + 60
        while not tracker.problem:
            assert time.monotonic() < until, "the fault was not felt"
            time.sleep(0.05)
        repair()
        tracker.stop()
    return tracker


@pytest.mark.parametrize("behaviour", ["lose_answers"])
def test_a_server_that_fails_on_the_way_loses_and_doubles_nothing(
    proxy: FaultyProxy,
    server: MlflowServer,
    study: str,
    workspace: Path,
    own: Own,
    behaviour: Behaviour,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(over_http.WAITS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    site(workspace, tracking=proxy.address)
    tracker = at_work(workspace, study, lambda: proxy.behave(behaviour), lambda: proxy.behave("pass"))
    assert tracker.problem == ""
    assert held(behind(server).ask, study) == own(workspace, study)


def test_a_killed_server_that_comes_back_has_everything_once(
    server: MlflowServer, study: str, workspace: Path, own: Own
) -> None:
    site(workspace, tracking=server.address)
    tracker = at_work(workspace, study, server.kill, server.start)
    assert tracker.problem == ""
    assert held(behind(server).ask, study) == own(workspace, study)


def test_a_database_that_is_killed_and_comes_back_has_everything_once(
    postgres: Postgres, database: Place, study: str, workspace: Path, own: Own
) -> None:
    site(workspace, tracking=database.address)
    tracker = at_work(workspace, study, postgres.kill, postgres.start)
    assert tracker.problem == ""
    assert held(database.ask, study) == own(workspace, study)


def test_a_server_that_is_away_at_the_end_gets_the_rest_by_the_next_run(
    proxy: FaultyProxy, server: MlflowServer, study: str, workspace: Path, own: Own,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tracking, "OUTAGE_SECONDS", 2.0)
    site(workspace, tracking=proxy.address)
    ledger, _, agenda = begun(workspace, study)
    with ledger:
        pack = agenda.next_pack()
        assert pack is not None
        train(agenda, pack, curved)
        tracker = Tracker(workspace, study)
        tracker.start()
        tracker.watch(agenda)
        until = time.monotonic() + 60
        while runs_so_far(behind(server).ask, study) < 2 + len(pack.members):
            assert time.monotonic() < until, tracker.problem
            time.sleep(0.1)
        time.sleep(1)
        proxy.behave("refuse")
        train_all(agenda, make=curved)
        tracker.watch(agenda)
        tracker.stop()
        missing = agenda.finished - len(pack.members)
    assert tracker.problem.startswith(f"{missing} members are not there yet; ")
    proxy.behave("pass")
    assert mirror(workspace, study).problem == ""
    assert held(behind(server).ask, study) == own(workspace, study)


def test_a_driver_that_is_killed_while_it_writes_doubles_nothing(
    proxy: FaultyProxy, server: MlflowServer, study: str, workspace: Path, own: Own
) -> None:
    trained(site(workspace, tracking=proxy.address), study)
    proxy.behave("pass", latency=0.1)
    # Forked, because loading MLflow again would take longer than all the rest.
    driver = get_context("fork").Process(target=mirror, args=(workspace, study))
    driver.start()
    until = time.monotonic() + 60
    try:
        while runs_so_far(behind(server).ask, study) < 25:
            assert time.monotonic() < until and driver.is_alive()
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.join(20)
    proxy.behave("pass")
    assert mirror(workspace, study).problem == ""
    assert held(behind(server).ask, study) == own(workspace, study)


def test_a_study_of_the_same_name_in_another_ledger_is_refused(
    place: Place, study: str, tmp_path: Path
) -> None:
    mine = trained(site(tmp_path / "mine", tracking=place.address), study)
    assert mirror(mine, study).problem == ""
    before = held(place.ask, study)

    theirs = trained(site(tmp_path / "theirs", tracking=place.address), study, started_ms=1)
    with pytest.raises(ValueError, match=r"another ledger .* rename the study"):
        mirror(theirs, study)
    assert held(place.ask, study) == before


def test_two_studies_that_touch_an_empty_database_at_once_both_find_their_tables(
    postgres: Postgres, tmp_path: Path, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDRULES_TRACKING_PASSWORD", PASSWORD)
    there = inside(postgres, postgres.database(owner="guarded"))
    workspaces = {
        name: trained(site(tmp_path / name, tracking=there.address), name) for name in ("one", "two")
    }
    problems: dict[str, str] = {}

    def write(name: str) -> None:
        problems[name] = mirror(workspaces[name], name).problem

    threads = [threading.Thread(target=write, args=(name,)) for name in workspaces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == {"one": "", "two": ""}
    for name, workspace in workspaces.items():
        assert held(there.ask, name) == own(workspace, name)


def test_a_wrong_password_is_told_without_telling_it(
    postgres: Postgres, study: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "OUTAGE_SECONDS", 0.5)
    monkeypatch.setenv("GROUNDRULES_TRACKING_PASSWORD", "my-own-secret")
    trained(site(workspace, tracking=postgres.database(owner="guarded")), study)
    problem = mirror(workspace, study).problem
    assert "password authentication failed" in problem
    assert "my-own-secret" not in problem


def test_the_database_of_a_site_is_shown_on_this_machine_only(
    postgres: Postgres,
    database: Place,
    study: str,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROUNDRULES_TRACKING_PASSWORD", PASSWORD)
    empty = postgres.database()
    trained(site(workspace, tracking=empty), study)
    assert invoke(["ui", "--workspace", str(workspace)]) == 2
    assert inside(postgres, empty).ask("SELECT * FROM pg_tables WHERE schemaname = 'public'") == []
    mirror(site(workspace, tracking=database.address), study)
    port = free_port()
    command = [sys.executable, "-m", "studies.cli", "ui", "--workspace", str(workspace), "--port", str(port)]
    with (tmp_path / "ui.log").open("wb") as log:
        shown = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 90
        found: Any = None
        while found is None:
            assert time.monotonic() < until and shown.poll() is None, (tmp_path / "ui.log").read_text()
            time.sleep(0.3)
            with suppress(Exception):
                found = MlflowClient(f"http://127.0.0.1:{port}").get_experiment_by_name(study)
        assert found.tags["groundrules.study"] == study
        words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _family(shown.pid)]
        assert len(words) > 1
        assert not any(PASSWORD.encode() in line or b"not%2Ffor" in line for line in words)
        shown.send_signal(signal.SIGINT)
        assert shown.wait(30) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shown.pid, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in below for one in _family(int(child)))]


def test_who_asks_a_server_is_the_sites_business(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULES_TRACKING_PASSWORD", "secret")
    named = over_http.credentials(site_of(site(workspace, tracking="https://me@mlflow:5000/")))
    assert (named.host, named.username, named.password) == ("https://mlflow:5000", "me", "secret")
    token = over_http.credentials(site_of(site(workspace, tracking="https://mlflow")))
    assert (token.username, token.token) == (None, "secret")


def test_tables_of_another_version_are_refused_and_left_alone(
    postgres: Postgres, database: Place, study: str, workspace: Path
) -> None:
    trained(site(workspace, tracking=database.address), study)
    assert mirror(workspace, study).problem == ""
    ((ours,),) = database.ask("SELECT version_num FROM alembic_version")
    postgres.execute("UPDATE alembic_version SET version_num = 'of-another'", database.address)
    try:
        with pytest.raises(ValueError, match=f"schema of-another, the MLflow here needs {ours}"):
            mirror(workspace, study)
        assert database.ask("SELECT version_num FROM alembic_version") == [("of-another",)]
    finally:
        postgres.execute(f"UPDATE alembic_version SET version_num = '{ours}'", database.address)


@pytest.mark.parametrize("spare", [0, -1])
def test_artifacts_with_an_address_longer_than_the_tables_hold_are_refused_before_training(
    database: Place, study: str, workspace: Path, tmp_path: Path, spare: int
) -> None:
    longest = 200 - len(f"/{'0' * 32}/artifacts")  # of PostgreSQL's column
    folder = tmp_path.as_uri()
    artifacts = f"{folder}/{'a' * (longest - len(f'{folder}//{study}') - spare)}"
    trained(site(workspace, tracking=database.address, artifacts=artifacts), study)
    if spare < 0:
        with pytest.raises(ValueError, match=f"has {longest + 1} characters; .* hold {longest}: shorten"):
            mirror(workspace, study)
    else:
        assert mirror(workspace, study).problem == ""


def test_a_report_is_shown_by_the_server_and_replaced_whole(
    server: MlflowServer, study: str, workspace: Path, tmp_path: Path
) -> None:
    trained(site(workspace, tracking=server.address), study)
    mirror(workspace, study)
    pages = tmp_path / "pages"
    (pages / "figures").mkdir(parents=True)
    (pages / "index.html").write_text("first", encoding="utf-8")
    (pages / "figures" / "old one.svg").write_text("<svg/>", encoding="utf-8")
    (pages / "secret").symlink_to("/etc/hostname")
    log_report(workspace, study, pages)
    client = MlflowClient(server.address)
    run = next(run for run in _search(client, study) if run.data.tags["groundrules.kind"] == "study")
    assert _listed(client, run.info.run_id) == {"report/figures/old one.svg", "report/index.html"}

    (pages / "index.html").write_text("second", encoding="utf-8")
    (pages / "figures" / "old one.svg").unlink()
    log_report(workspace, study, pages)
    assert _listed(client, run.info.run_id) == {"report/index.html"}
    copied = client.download_artifacts(run.info.run_id, "report/index.html", str(tmp_path))
    assert Path(copied).read_text(encoding="utf-8") == "second"


def test_a_report_goes_to_the_folder_that_the_site_names(
    place: Place, study: str, workspace: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared folder"
    trained(site(workspace, tracking=place.address, artifacts=str(shared)), study)
    mirror(workspace, study)
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("the answer", encoding="utf-8")
    log_report(workspace, study, pages)
    (copy,) = (shared / study).glob("*/artifacts/report/index.html")
    assert copy.read_text(encoding="utf-8") == "the answer"
    uri = place.address if place.address.startswith("http") else postgresql_uri(place.address)
    client = MlflowClient(uri)
    run = next(run for run in _search(client, study) if run.data.tags["groundrules.kind"] == "study")
    assert _listed(client, run.info.run_id) == {"report/index.html"}


def test_study_cells_members_curves_and_the_report_are_seen_in_a_browser(
    server: MlflowServer, study: str, workspace: Path, tmp_path: Path, chromium: Browser
) -> None:
    trained(site(workspace, tracking=server.address), study)
    assert mirror(workspace, study).problem == ""
    assert invoke(["report", study, "--workspace", str(workspace)]) == 0
    pages = list(study_pages(server.address, study, words="he_normal"))
    assert len(pages) == 6
    for page in pages:
        chromium.open(page.address)
        page.shows(chromium)
        chromium.screenshot(tmp_path / f"{page.name}.png")


def test_the_pages_of_a_server_are_named_and_nothing_is_started(
    server: MlflowServer, study: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(site(workspace, tracking=server.address), study)
    assert invoke(["ui", "--workspace", str(workspace)]) == 0
    assert capsys.readouterr().out == f"MLflow: nothing yet of  {study}\n"
    mirror(workspace, study)
    assert invoke(["ui", "--workspace", str(workspace)]) == 0
    assert capsys.readouterr().out.startswith(f"MLflow: {server.address}/#/experiments/")


def test_a_server_that_does_not_answer_is_one_message(
    proxy: FaultyProxy, study: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(site(workspace, tracking=proxy.address), study)
    proxy.behave("refuse")
    assert invoke(["ui", "--workspace", str(workspace)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: MLflow at {proxy.address} does not answer")
    assert said.count("\n") == 1


def _search(client: Any, study: str) -> list[Any]:
    experiment = client.get_experiment_by_name(study)
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def _listed(client: Any, run: str, path: str = "") -> set[str]:
    found: set[str] = set()
    for file in client.list_artifacts(run, path or None):
        found |= _listed(client, run, file.path) if file.is_dir else {file.path}
    return found


def _client(place: Place) -> MlflowClient:
    """MLflow's own, of a server or of a database."""
    postgresql = place.address.startswith("postgresql")
    return MlflowClient(postgresql_uri(place.address) if postgresql else place.address)


def test_deleted_runs_and_a_deleted_experiment_come_back(place: Place, study: str, workspace: Path) -> None:
    trained(site(workspace, tracking=place.address), study)
    assert mirror(workspace, study).problem == ""
    should = held(place.ask, study)
    client = _client(place)
    for run in _search(client, study)[:5]:
        client.delete_run(run.info.run_id)
    assert held(place.ask, study) != should
    assert mirror(workspace, study).problem == ""
    assert held(place.ask, study) == should

    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert mirror(workspace, study).problem == ""
    assert held(place.ask, study) == should


@pytest.mark.parametrize("what", ["runs", "the experiment"])
def test_what_was_removed_for_good_is_written_again(
    place: Place, server: MlflowServer, study: str, workspace: Path, what: str
) -> None:
    trained(site(workspace, tracking=place.address), study)
    assert mirror(workspace, study).problem == ""
    should = held(place.ask, study)
    client = _client(place)
    runs, experiment = _search(client, study), client.get_experiment_by_name(study)
    assert experiment is not None
    if what == "runs":
        gone = [run.info.run_id for run in runs if run.data.tags["groundrules.kind"] == "member"][:5]
        for run in gone:
            client.delete_run(run)
        which = ["--run-ids", ",".join(gone)]
    else:
        client.delete_experiment(experiment.experiment_id)
        which = ["--experiment-ids", experiment.experiment_id]
    postgresql = place.address.startswith("postgresql")
    books = postgresql_uri(place.address) if postgresql else f"sqlite:///{server.folder / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": place.address if not postgresql else books}
    collected = subprocess.run(
        [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", books, *which],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert collected.returncode == 0, collected.stderr[-2000:]
    assert len(held(place.ask, study).runs) == (len(runs) - 5 if what == "runs" else 0)
    assert mirror(workspace, study).problem == ""
    again = held(place.ask, study)
    assert (again.runs, again.parents) == (should.runs, should.parents)
    assert again.rows == should.rows


def test_tables_that_no_test_has_seen_are_written_by_mlflows_calls(
    database: Place, study: str, workspace: Path, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(site(workspace, tracking=database.address), study)
    should = own(workspace, study)
    with monkeypatch.context() as patch:
        patch.setattr("studies.tracking.sqlite.SEEN", frozenset())
        patch.setattr("studies.tracking.database.DatabaseStore.write", None)
        assert mirror(workspace, study).problem == ""
        assert held(database.ask, study) == should
    assert mirror(workspace, study).problem == "", "what they have begun, they go on with"
    assert held(database.ask, study) == should
