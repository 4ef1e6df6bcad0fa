"""A Ray cluster that is already there, as the workers of one study: used as it is found, and left so.

With `studies.execution.local_cluster` and `studies.execution.ray_workers` the only door to Ray. Nothing of
the cluster is started, changed or stopped; disconnecting ends the study's own workers. Its nodes need no
folder in common: code and task file come with the job, results go to the driver, no checkpoint is ever
written.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import uuid4

from studies.execution.local_cluster import (
    ENVIRONMENT,
    LOGGERS,
    MODE_FOUND,
    THREADS,
    IsolatedJobConfig,
    granted,
)

# isort: split
import ray

from studies.execution.ray_release import collect

if TYPE_CHECKING:
    from trainers.tasks.user_tasks import TaskSource

ROOT = Path(__file__).parents[2]
"""Where our packages lie: on a cluster, the job's working directory."""
LOOK_SECONDS = 5.0
"""Between two looks at what the cluster has: nodes come and go with an autoscaler."""
IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray for the driver of a job."""


class ExistingCluster:
    """The running cluster that this process belongs to (inside a job, or on one of its nodes)."""

    def __init__(self, workers: int | None = None, gpu_fraction: float = 0.0) -> None:
        """Nothing is connected yet.

        Args:
            workers: packs trained at the same time. More than the cluster has room for makes an autoscaler
                add nodes. None: as many as there is room for, growing with the cluster.
            gpu_fraction: share of one GPU that each worker asks for (0 for none).

        Raises:
            ValueError: no token, so that anybody could run code on this cluster; Ray already runs here.
        """
        if ray.is_initialized():
            raise ValueError("Ray already runs in this process; call ray.shutdown() first")
        _refuse_without_token()
        self.gpu_fraction = gpu_fraction
        self._wish = workers
        self._room = workers or 1
        self._looked = -math.inf
        self._folder: Path | None = None
        self._before: dict[str, str | None] = {}
        self._levels: dict[str, int] = {}

    def wait(self) -> Path:
        """Connects; the folder for what the driver writes and nobody reads.

        Raises:
            ValueError: no cluster here, or one that lets in whoever has no token.
        """
        if self._folder is not None:
            return self._folder
        self._before = {name: os.environ.get(name) for name in ENVIRONMENT}
        self._levels = {name: logging.getLogger(name).level for name in LOGGERS}
        os.environ.update(ENVIRONMENT)
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are ours to tell, in one line
        handler = signal.getsignal(signal.SIGTERM)
        # A job says itself what its workers' environment is, and Ray takes no second word.
        said = None if IN_A_JOB in os.environ else {"env_vars": {**ENVIRONMENT, **THREADS}}
        try:
            found = ray.init(
                address=os.environ.get("RAY_ADDRESS") or "auto",
                namespace=uuid4().hex,
                job_config=IsolatedJobConfig(),
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                runtime_env=said,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"--cluster auto: no Ray cluster can be reached from here ({reason})") from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own would skip our clean-up
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._folder = Path(tempfile.mkdtemp(prefix="groundrules-driver-"))
        _refuse_open(str(found.dashboard_url or ""))
        return self._folder

    @property
    def workers(self) -> int:
        """Packs trained at the same time, as things stand now."""
        now = time.monotonic()
        if self._wish is None and ray.is_initialized() and now - self._looked > LOOK_SECONDS:
            there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            self._room, self._looked = max(1, room(there, self.gpu_fraction)), now
        return self._room

    def granted(self) -> int:
        """Workers of ours that the cluster has given a place, started or starting."""
        return granted()

    def lost(self) -> str:
        """Nobody can tell from here: Ray ends this process when the head is gone for a minute."""
        return ""

    def carried(self, tasks_from: TaskSource | None) -> str | None:
        """The task file as workers on other nodes find it: below our packages where it came with the job."""
        if tasks_from is None:
            return None
        if isinstance(tasks_from, Mapping):
            raise ValueError(
                "tasks that are objects of this process cannot be sent to other machines: name a file of "
                "tasks, or run without --cluster"
            )
        file = Path(tasks_from).resolve()
        return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)

    @property
    def home(self) -> str:
        """'': each node has a home of its own."""
        return ""

    def end(self) -> None:
        """Nothing: disconnecting takes no time."""

    def stop(self) -> None:
        """Disconnects, which ends our workers and nobody else's; twice is once."""
        if self._folder is not None:
            collect()
            ray.shutdown()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        for name, value in self._before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def __enter__(self) -> ExistingCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def room(resources: dict[str, float], gpu_fraction: float) -> int:
    """How many workers of one CPU and that share of a GPU the resources hold; others may be using them."""
    places = math.floor(resources.get("CPU", 0.0) + 1e-9)
    if gpu_fraction:
        places = min(places, math.floor(resources.get("GPU", 0.0)) * math.floor(1 / gpu_fraction + 1e-9))
    return places


def _refuse_without_token() -> None:
    """ValueError unless the environment has a token, as Ray looks for it."""
    if MODE_FOUND not in (None, "token"):
        raise ValueError(
            f"--cluster auto: RAY_AUTH_MODE={MODE_FOUND} here; a study runs on clusters with token "
            "authentication only (start every node with RAY_AUTH_MODE=token)"
        )
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    file = Path(os.path.expanduser(named))
    if not file.is_file() or not file.stat().st_size:
        raise ValueError(
            f"--cluster auto: no token for this cluster (neither RAY_AUTH_TOKEN nor the file {named}); start "
            "every node with RAY_AUTH_MODE=token and one of these"
        )


def _refuse_open(dashboard: str) -> None:
    """ValueError if the cluster answers who shows no token; passed where its dashboard is not to be seen."""
    if not dashboard:
        return
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://{dashboard}/api/version", timeout=5
        ) as answer:
            json.load(answer)
    except (OSError, ValueError):  # urllib's errors are OSErrors; 401 is one of them
        return
    raise ValueError(
        "--cluster auto: this cluster answers without a token, so whoever reaches it can run code on it; "
        "start every node with RAY_AUTH_MODE=token"
    )
