"""A cluster that cannot be used is one message and exit 2, and nothing is sent to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import studies.cluster.ray_jobs
from studies.cluster.ray_jobs import JobApi
from tests.blackbox.program import HERE, TINY, Ran, invoked
from tests.rehearsal.ray_nodes import free_port
from tests.studies.planted import started

TOKEN = "t" * 64
SITE = "ledger: postgresql://nobody@127.0.0.1:1/none\n"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.delenv("GROUNDRULES_CLUSTER", raising=False)


@contextmanager
def answering(status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Iterator[str]:
    """A web server that is no Ray: it gives everyone the same answer."""

    class Same(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:
            """Nothing."""

    asked: list[str | None] = []
    server = HTTPServer(("127.0.0.1", 0), Same)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def submitted(workspace: Path, *arguments: str | Path) -> Ran:
    workspace.mkdir(exist_ok=True)
    (workspace / "site.yaml").write_text(SITE, encoding="utf-8")
    return invoked("submit", TINY, *arguments, workspace=workspace)


def refused(ran: Ran, *words: str) -> None:
    """One line, exit 2, saying all of `words`."""
    assert ran.code == 2, ran.said
    assert ran.out == "" and len(ran.err.strip().splitlines()) == 1, ran.said
    for word in words:
        assert word in ran.err


def test_no_cluster_is_named(workspace: Path) -> None:
    refused(submitted(workspace), "no cluster: give --cluster http://HEAD:8265")


def test_nobody_answers(workspace: Path) -> None:
    port = free_port()
    refused(submitted(workspace, "--cluster", f"http://127.0.0.1:{port}"), f":{port} cannot be reached")


def test_somebody_takes_the_call_and_never_answers(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.cluster.ray_jobs, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused(submitted(workspace, "--cluster", address), "cannot be reached", "timed out")


@pytest.mark.parametrize("address", ["127.0.0.1:8265", "ray://head:10001", "http://", "http://head:0"])
def test_an_address_of_another_kind(address: str, workspace: Path) -> None:
    refused(submitted(workspace, "--cluster", address), "must be an address like http://HEAD:8265")


def test_a_password_in_the_address(workspace: Path) -> None:
    ran = submitted(workspace, "--cluster", "http://me:hush@head:8265")
    refused(ran, "a cluster takes a token")
    assert "hush" not in ran.said


def test_no_token(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    refused(submitted(workspace, "--cluster", "http://127.0.0.1:1"), "no token for the cluster")


def test_a_token_that_others_may_read(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN, encoding="utf-8")
    file.chmod(0o644)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    refused(submitted(workspace, "--cluster", "http://127.0.0.1:1"), "must have 0600")


def test_what_answers_is_not_ray(workspace: Path) -> None:
    with answering(200, b"<html>a router</html>") as address:
        refused(submitted(workspace, "--cluster", address), "is not Ray's dashboard")


def test_a_cluster_that_asks_for_no_token_is_not_used(workspace: Path) -> None:
    from importlib.metadata import version

    with answering(200, f'{{"ray_version": "{version("ray")}"}}'.encode()) as address:
        refused(submitted(workspace, "--cluster", address), "answers without a token", "RAY_AUTH_MODE=token")


def test_the_token_does_not_follow_a_redirect() -> None:
    with (
        answering(200, b'{"ray_version": "1"}') as elsewhere,
        answering(302, b"", (("Location", elsewhere),)) as address,
        pytest.raises(ValueError, match=r"refused GET /api/version \(302\)"),
    ):
        JobApi(address, TOKEN).version()


def test_no_ledger_is_shared(workspace: Path) -> None:
    ran = invoked("submit", TINY, "--cluster", "http://127.0.0.1:1", workspace=workspace)
    refused(ran, "no ledger that this machine and the cluster share")


def test_a_missing_task_file_and_a_wrong_study_are_told_before_the_cluster_is_asked(workspace: Path) -> None:
    missing = HERE / "none.py"
    refused(submitted(workspace, "--tasks-from", missing), f"no file {missing}")
    refused(invoked("submit", "nowhere.yaml", workspace=workspace), "no such file")


@pytest.mark.parametrize("command", ["status", "resume"])
def test_an_unknown_study_names_those_there_are(command: str, workspace: Path) -> None:
    started(workspace)[0].close()
    refused(invoked(command, "tinny", workspace=workspace), "'tinny'", "tiny")


def test_without_a_cluster_the_ledger_still_tells_where_a_study_stands(workspace: Path) -> None:
    started(workspace)[0].close()
    asked = ("--cluster", f"http://127.0.0.1:{free_port()}")
    for command in (("status", "tiny"), ("list",)):
        ran = invoked(*command, *asked, workspace=workspace)
        assert ran.code == 0, ran.said
        assert "tiny" in ran.out and "stopped" in ran.out
        assert "cannot be reached" in ran.err
    for command in (("stop", "tiny"), ("logs", "tiny")):
        refused(invoked(*command, *asked, workspace=workspace), "cannot be reached")
