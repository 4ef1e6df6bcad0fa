"""The stage of a rehearsal: PostgreSQL, an MLflow server, a Ray cluster of three nodes, users' machines."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from studies.cluster.ray_jobs import JobApi
from studies.ledger.ledger import Ledger
from tests.mlflow_server import MlflowServer
from tests.postgres import PASSWORD, Postgres, serving
from tests.rehearsal.client import Client
from tests.rehearsal.ray_nodes import NO_PROXY, RayNodes, ray_nodes

WAIT_SECONDS = 300.0


class Stage:
    """All that is running, and what may be asked of it."""

    def __init__(self, folder: Path, postgres: Postgres, mlflow: MlflowServer, nodes: RayNodes) -> None:
        self.folder = folder
        self.nodes = nodes
        self.mlflow = mlflow
        self.ledger = postgres.database(owner="guarded")
        self.api = JobApi(nodes.address, nodes.token)

    def user(self, name: str, *, apart: bool = True) -> Client:
        """A new user: the site's addresses in a site file, its secrets in files of their own."""
        site = {"cluster": self.nodes.address, "ledger": self.ledger, "tracking": self.mlflow.address}
        secrets = {"cluster_token_file": self.nodes.token, "ledger_password_file": PASSWORD}
        return Client(self.folder, name, site=site, secrets=secrets, apart=apart)

    def alone(self, name: str, *, apart: bool = True) -> Client:
        """A user without a site, who runs a study on one machine."""
        return Client(self.folder, name, site={}, secrets={}, apart=apart)

    def members(self, user: Client, study: str) -> int:
        """Members of a study in the shared ledger, as a user sees it."""
        try:
            with Ledger.open(user.workspace) as ledger:
                return len(ledger.filled(study))
        except ValueError:  # not made yet
            return 0

    def experiments(self) -> dict[str, list[dict[str, str]]]:
        """MLflow's experiment -> the tags of all its runs."""
        found = self._mlflow("experiments/search", {"max_results": 100})["experiments"]
        return {one["name"]: self._tags(one["experiment_id"]) for one in found if one["name"] != "Default"}

    def _tags(self, experiment: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        token = ""
        while True:
            page = self._mlflow(
                "runs/search",
                {"experiment_ids": [experiment], "max_results": 1000, "page_token": token},
            )
            for run in page.get("runs", ()):
                found.append({tag["key"]: tag["value"] for tag in run["data"].get("tags", ())})
            token = page.get("next_page_token", "")
            if not token:
                return found

    def _mlflow(self, what: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.mlflow.address}/api/2.0/mlflow/{what}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with NO_PROXY.open(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def stage(workers: int = 2) -> Iterator[Stage]:
    """Starts everything, and ends every process of it, whatever happened in between.

    The cluster's environment holds the ledger's password, as an operator would give it to the nodes.
    """
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="gr-rehearsal-")))
        postgres = exits.enter_context(serving())
        mlflow = MlflowServer(folder / "mlflow")
        exits.callback(mlflow.stop)
        mlflow.start()
        nodes = exits.enter_context(
            ray_nodes(folder, workers=workers, environment={"GROUNDRULES_LEDGER_PASSWORD": PASSWORD})
        )
        yield Stage(folder, postgres, mlflow, nodes)


def wait_for(what: str, held: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Until it holds; AssertionError naming it after so many seconds."""
    until = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)
