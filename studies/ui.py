"""The MLflow pages of a workspace: MLflow's own server, lean, for this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from studies.interrupts import interrupted_by_sigterm
from studies.tracking import ARTIFACTS, DATABASE, QUIET, database_uri

LEAN_SERVER = {
    **QUIET,
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_MODEL_CATALOG_URI": "",
}
"""Two processes instead of ten, nothing calls home, and nothing that is sent is ever run."""
HOSTS = "localhost,localhost:*,127.0.0.1,127.0.0.1:*"
"""What a browser may call this server; MLflow alone would also answer to private addresses."""


def serve(workspace: Path, port: int | None, *, say: Callable[[str], None]) -> int:
    """Runs MLflow's own server on a workspace, for this machine only, until Ctrl-C or SIGTERM.

    Args:
        workspace: with an MLflow store in it.
        port: None for a free one.
        say: told the address, just before the server starts.

    Returns:
        0 after an interrupt, the server's own code where it ended by itself.

    Raises:
        ValueError: no store there, or a port that is taken.
    """
    workspace = workspace.resolve()
    if not (workspace / DATABASE).is_file():
        raise ValueError(
            f"workspace {workspace}: no MLflow store here ({DATABASE} is missing); run a study first"
        )
    chosen = _port(port)
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", database_uri(workspace)),
        *("--default-artifact-root", (workspace / ARTIFACTS).as_uri()),
        "--no-serve-artifacts",
        *("--host", "127.0.0.1", "--port", str(chosen), "--workers", "1", "--allowed-hosts", HOSTS),
    ]
    say(f"http://127.0.0.1:{chosen}/#/experiments?workflowType=machine_learning")  # not the GenAI pages
    server = subprocess.Popen(
        command,
        env={**os.environ, **LEAN_SERVER},
        cwd=workspace,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # so that its children can be ended with it
    )
    try:
        with interrupted_by_sigterm():
            return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end_group(server)


def _port(wish: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wish or 0))
        except OSError as error:
            raise ValueError(f"port {wish} on 127.0.0.1 cannot be used ({error}); choose another") from error
        return int(probe.getsockname()[1])


def _end_group(leader: subprocess.Popen[bytes], patience: float = 5) -> None:
    """Ends a process and all its children: politely, then not."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, how)
        with suppress(subprocess.TimeoutExpired):
            leader.wait(patience)
