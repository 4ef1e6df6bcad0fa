"""The MLflow pages of a workspace: MLflow's own server, lean, for this machine only.

Where a site names a server for all, that one's pages are named instead.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from studies.execution.interrupts import interrupted_by_sigterm
from studies.ledger.ledger import Ledger
from studies.site import Site, site_of
from studies.tracking.report_artifacts import location_of
from studies.tracking.tracker import DATABASE, QUIET, database_uri

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


def pages_elsewhere(workspace: Path) -> list[str]:
    """What to say where a site has an MLflow server: its address, or those of the studies' experiments.

    Returns:
        no line where the pages have to be served here.

    Raises:
        ValueError: the server does not answer.
    """
    site = site_of(workspace)
    if not site.tracking.startswith("http"):
        return []
    from studies.tracking.server import experiment_pages

    with Ledger.open(workspace) as ledger:
        rows, damage = ledger.sound_studies()
    studies = [row.name for row in rows]
    pages = experiment_pages(site, studies)
    return [
        *(f"MLflow: {pages.get(name, 'nothing yet of')}  {name}" for name in studies),
        *(f"damaged: {name}: {why}" for name, why in damage.items()),
    ]


def serve(workspace: Path, port: int | None, *, say: Callable[[str], None]) -> int:
    """Runs MLflow's own server on a workspace, for this machine only, until Ctrl-C or SIGTERM.

    Args:
        workspace: with an MLflow store in it, or with a site that names one in PostgreSQL.
        port: None for a free one.
        say: told the address, just before the server starts.

    Returns:
        0 after an interrupt, the server's own code where it ended by itself.

    Raises:
        ValueError: no store there, or a port that is taken.
    """
    workspace = workspace.resolve()
    database, artifacts = _store(workspace, site_of(workspace))
    chosen = _port(port)
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--default-artifact-root", artifacts),
        "--no-serve-artifacts",
        *("--host", "127.0.0.1", "--port", str(chosen), "--workers", "1", "--allowed-hosts", HOSTS),
    ]
    say(f"http://127.0.0.1:{chosen}/#/experiments?workflowType=machine_learning")  # not the GenAI pages
    server = subprocess.Popen(
        command,
        # The database's address may hold a password. No file of the workspace is imported as a library.
        env={
            **os.environ,
            **LEAN_SERVER,
            "MLFLOW_BACKEND_STORE_URI": database,
            "PYTHONSAFEPATH": "1",
        },
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


def _store(workspace: Path, site: Site) -> tuple[str, str]:
    """The database to show, as MLflow writes its address, and where new artifacts would go."""
    artifacts = location_of(site, "").rstrip("/")
    if site.tracking:
        from studies.tracking.database import postgresql_uri, refuse_unready

        refuse_unready(site.tracking_address)
        return postgresql_uri(site.tracking_address), artifacts
    if not (workspace / DATABASE).is_file():
        raise ValueError(
            f"workspace {workspace}: no MLflow store here ({DATABASE} is missing); run a study first"
        )
    return database_uri(workspace), artifacts


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
