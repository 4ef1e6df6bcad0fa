"""A real MLflow server for tests: another process on loopback, with SQLite or a given PostgreSQL behind it.

It proxies artifacts, starts no jobs, calls nobody, and keeps its folder when it is killed and started again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEAN = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MlflowServer:
    """`start` it, then `stop` it as an operator does or `kill` it as a failing machine does."""

    def __init__(self, folder: Path, *, database: str = "", workers: int = 1) -> None:
        """A server that is not running yet; it keeps its port.

        Args:
            folder: of its database, its artifacts and its log; made where missing.
            database: an SQLAlchemy address such as postgresql+psycopg://...; '': SQLite in the folder.
            workers: its processes.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "server.log"
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._database = database or f"sqlite:///{folder / 'mlflow.db'}"
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, patience: float = 120) -> MlflowServer:
        """Starts it and waits until it answers; AssertionError with its log if it never does."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--serve-artifacts"),
            *("--artifacts-destination", (self.folder / "artifacts").as_uri()),
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self._workers)),
            *("--uvicorn-opts", "--no-access-log"),
        ]
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                env=environment | LEAN | {"MLFLOW_BACKEND_STORE_URI": self._database},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its workers can be killed with it
            )
        until = time.monotonic() + patience
        while not self.answers():
            assert self._process.poll() is None, f"the server ended:\n{self.said()}"
            assert time.monotonic() < until, f"no answer after {patience} s:\n{self.said()}"
            time.sleep(0.2)
        return self

    def answers(self) -> bool:
        """Whether it is there."""
        try:
            with _OPENER.open(f"{self.address}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def stop(self) -> None:
        """Ends it politely, and with it all that it started."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of all its processes."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Killed, and started again on the same port and database."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        for signal_ in dict.fromkeys((how, signal.SIGKILL)):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal_)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=15)
        self._process = None


@contextmanager
def mlflow_server(folder: Path, *, database: str = "", workers: int = 1) -> Iterator[MlflowServer]:
    """A running server, ended on leaving."""
    server = MlflowServer(folder, database=database, workers=workers)
    try:
        yield server.start()
    finally:
        server.stop()


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
