"""The stores as infra/ makes them: two databases that keep apart, and MLflow's server on one of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.infra.operators_files import INFRA
from tests.postgres import Postgres, missing_postgres, serving
from tests.surroundings import SILENCE, THREADS, do_without

LEDGER, TRACKING = "ledger's own / password", "tracking's"
PAGE = "/ajax-api/2.0/mlflow/experiments/search?max_results=10"


@pytest.fixture(scope="module")
def stores() -> Iterator[Postgres]:
    """A PostgreSQL on which postgres-roles.sh has run, and which asks those roles for their passwords."""
    reason = missing_postgres() or (None if shutil.which("psql") else "no psql: apt-get install postgresql")
    if reason is not None:
        do_without("postgresql", reason)
    with serving() as server:
        server.execute("DROP ROLE groundrules")  # of the tests; the script makes one of its own
        variables = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "GROUNDRULES_LEDGER_PASSWORD": LEDGER,
            "GROUNDRULES_TRACKING_PASSWORD_FILE": str(server.folder / "tracking_password"),
        }
        (server.folder / "tracking_password").write_text(f"{TRACKING}\n", encoding="utf-8")
        made = subprocess.run(
            ["bash", str(INFRA / "postgres-roles.sh")],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
        access = server.folder / "data" / "pg_hba.conf"
        asked = "host all groundrules,mlflow 127.0.0.1/32 scram-sha-256\n"
        access.write_text(asked + access.read_text(encoding="utf-8"), encoding="utf-8")
        server.execute("SELECT pg_reload_conf()")
        yield server


def connect(server: Postgres, user: str, database: str, password: str) -> str:
    """'' if it lets in that user, else what it says."""
    try:
        psycopg.connect(server.address(database, user), password=password).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_each_owner_reaches_the_database_that_is_his_and_no_other(stores: Postgres) -> None:
    for _ in range(50):  # the server reads its new rules when it comes to it
        if connect(stores, "groundrules", "groundrules", "wrong"):
            break
        time.sleep(0.1)
    assert connect(stores, "groundrules", "groundrules", LEDGER) == ""
    assert connect(stores, "mlflow", "mlflow", TRACKING) == ""
    assert "permission denied" in connect(stores, "groundrules", "mlflow", LEDGER)
    assert "permission denied" in connect(stores, "mlflow", "groundrules", TRACKING)
    assert "authentication failed" in connect(stores, "mlflow", "mlflow", LEDGER)


def test_the_script_says_what_it_lacks() -> None:
    lacking = {name: value for name, value in os.environ.items() if not name.startswith("GROUNDRULES_")}
    run = subprocess.run(
        ["bash", str(INFRA / "postgres-roles.sh")], env=lacking, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "GROUNDRULES_LEDGER_PASSWORD" in run.stderr


def test_the_server_wants_to_be_told_its_names(tmp_path: Path) -> None:
    variables = {"MLFLOW_BACKEND_STORE_URI": "x", "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path)}
    run = subprocess.run(
        ["bash", str(INFRA / "mlflow-server.sh")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" in run.stderr


@contextmanager
def mlflow_server(folder: Path, store: Postgres) -> Iterator[int]:
    """MLflow's server as the containers run it, on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    variables = {
        **SILENCE,
        **THREADS,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://mlflow@127.0.0.1:{store.port}/mlflow",
        "MLFLOW_DATABASE_PASSWORD_FILE": str(store.folder / "tracking_password"),
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow,mlflow:5000",
        "MLFLOW_PORT": str(port),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", str(INFRA / "mlflow-server.sh")],
            env={**os.environ, **variables},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while answer(port, "/health", "mlflow") != 200:
            said = (folder / "log").read_text(encoding="utf-8", errors="replace")
            assert server.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answer(port: int, path: str, host: str) -> int:
    """The status of a request that was addressed to `host`; 0 where nobody listens."""
    try:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
        with urllib.request.urlopen(asked, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def processes(folder: Path) -> list[str]:
    """The command lines of everything that works in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_the_server_answers_to_its_names_only_and_hides_its_password(
    tmp_path: Path, stores: Postgres
) -> None:
    with mlflow_server(tmp_path, stores) as port:
        assert answer(port, PAGE, "mlflow:5000") == 200
        assert answer(port, PAGE, "mlflow") == 200
        assert answer(port, PAGE, f"localhost:{port}") == 403, "not named"
        assert answer(port, PAGE, "attacker.example.org") == 403
        assert answer(port, "/health", "10.1.2.3:5000") == 200, "a probe asks by address"
        running = processes(tmp_path)
        assert running
        assert not [line for line in running if TRACKING in line or "huey" in line or "job" in line]
