"""The local Ray cluster of one run: started beside other work, private, and gone afterwards.

It has no dashboard, a token of its own, and a folder that only its owner can open. With
`studies.execution.ray_workers` the only door to Ray. Ray takes seconds to start, so a thread starts it while
the caller imports what planning needs.
"""

from __future__ import annotations

import logging
import math
import os
import resource
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol
from uuid import uuid4

MODE_FOUND = os.environ.get("RAY_AUTH_MODE")
"""As this process was started with it; `studies.execution.existing_cluster` asks."""
RAY_CAME_FIRST = "ray" in sys.modules and MODE_FOUND != "token"
os.environ["RAY_AUTH_MODE"] = "token"  # read once, while Ray is imported
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # too: nothing starts a cluster behind our back when ours is lost

import ray  # noqa: E402
from ray.job_config import JobConfig  # noqa: E402
from ray.util import placement_group_table  # noqa: E402

from studies.execution.failure_kinds import ClusterLost  # noqa: E402
from studies.execution.ray_release import collect  # noqa: E402
from studies.execution.restart import can_restart, restart  # noqa: E402
from studies.execution.scratch_folder import new_folder, remove  # noqa: E402
from studies.execution.task_objects import write_tasks  # noqa: E402
from studies.execution.watchdog import DONE  # noqa: E402
from studies.process_setup import hear_again  # noqa: E402

if TYPE_CHECKING:
    from trainers.tasks.user_tasks import TaskSource

OBJECT_STORE_BYTES = 200_000_000
"""A pack's result is about a megabyte; Ray would reserve 30 % of the machine's memory."""

ADDRESS_BYTES = 7_000_000_000
"""Driver and workers reserve 6 GB each, hardly any of it in memory (Ray 2.60 with torch 2.14)."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's would swallow the first Ctrl-C
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the ledger is the memory; Tune's snapshots are never read
}
TOO_SLOW = ("timed out during startup", "Timed out waiting for file")
"""What Ray says where its processes have not started in its time."""
GRANTED_SECONDS = 0.5
"""Between two looks at which workers have a place."""
STUCK_SECONDS = 5.0
"""So long after Ray's processes have ended, whoever has not noticed waits for an answer of theirs."""
SET_BY_RAY = ("PYTHONBREAKPOINT",)
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
LOGGERS = ("ray", "ray.tune")


class WorkerPool(Protocol):
    """Where packs are trained: a cluster of our own (`Cluster`), or one that was there (`Attached`)."""

    gpu_fraction: float

    @property
    def workers(self) -> int:
        """Packs trained at the same time, as things stand now."""

    @property
    def home(self) -> str:
        """The home folder of all workers; '' where each node has its own."""

    def wait(self) -> Path:
        """A folder for Tune, once Ray answers."""

    def lost(self) -> str:
        """Which of Ray's own processes have ended; '' while all is well, or nobody can tell."""

    def stop(self) -> None:
        """Ends what is ours of it; twice is once."""

    def granted(self) -> int:
        """Workers that have been given a place, started or starting."""

    def carried(self, tasks_from: TaskSource | None) -> str | None:
        """The task file's name as workers find it."""


class Cluster:
    """A cluster of so many workers. Leaving its `with` block stops it, ready or not.

    Between `start` and `wait` the process has another HOME, so nothing of the user's may run there.
    """

    def __init__(self, workers: int | None = None, gpu_fraction: float = 0.0) -> None:
        """Nothing is started yet.

        Args:
            workers: packs trained at the same time; None: one per CPU this process may use, or as many as
                share one GPU.
            gpu_fraction: share of one GPU that each worker asks for (0 for none).

        Raises:
            ValueError: Ray already runs in this process; workers or gpu_fraction out of range.
        """
        self.workers = _checked(workers, gpu_fraction)
        self.gpu_fraction = gpu_fraction
        self._thread: threading.Thread | None = None
        self._ready, self._over = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._lock: IO[str] | None = None
        self._before: dict[str, str | None] = {}
        self._levels: dict[str, int] = {}

    def start(self) -> Cluster:
        """Begins in a thread; `wait` before anything is asked of the cluster."""
        self.folder, self._lock = new_folder()
        self._watchdog = _watchdog(self.folder)
        token = _token_file(self.folder)
        changed = (*ENVIRONMENT, *THREADS, *SET_BY_RAY, "RAY_AUTH_TOKEN_PATH")
        self._before = {name: os.environ.get(name) for name in changed}
        self._levels = {name: logging.getLogger(name).level for name in LOGGERS}
        os.environ.update(ENVIRONMENT, **THREADS, RAY_AUTH_TOKEN_PATH=str(token))
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are ours to tell, in one line
        # Not in the main thread: there Ray replaces the handler of SIGTERM by one that skips our clean-up.
        self._thread = threading.Thread(target=self._live, name="ray", daemon=True)
        self._thread.start()
        return self

    def wait(self) -> Path:
        """The cluster's folder, once Ray answers; raises what its start raised."""
        assert self._thread is not None, "not started"
        self._ready.wait()
        if threading.current_thread() is threading.main_thread():
            hear_again()
        if self._error is not None:
            raise started_too_slowly(self._error)
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return self.folder

    def lost(self) -> str:
        """Which of Ray's own processes have ended; '' while all are there."""
        node: Any = ray._private.worker._global_node
        return "" if node is None else ", ".join(name for name, _ in node.dead_processes())

    def granted(self) -> int:
        """Workers that have been given a place, started or starting."""
        return granted()

    def carried(self, tasks_from: TaskSource | None) -> str | None:
        """The task file as workers find it: they are on this machine."""
        if isinstance(tasks_from, Mapping):
            return write_tasks(tasks_from, self.folder, dumps=ray.cloudpickle.dumps)
        return None if tasks_from is None else str(Path(tasks_from).resolve())

    @property
    def home(self) -> str:
        """The home folder of the workers, for whom Ray's start had another."""
        return os.path.expanduser("~")

    def end(self) -> None:
        """Begins to stop, without waiting for it."""
        self._over.set()

    def stop(self) -> None:
        """Ends the cluster and leaves environment and loggers as they were found; twice is once."""
        if self._thread is None:
            return
        self.end()
        self._thread.join()
        self._thread = None
        with suppress(OSError):  # it may have been killed
            self._watchdog.communicate(DONE)
        remove(self.folder)
        if self._lock is not None:
            self._lock.close()
        self._restore()

    def _restore(self) -> None:
        for name, value in self._before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _live(self) -> None:
        """The thread: Linux kills Ray's processes when the thread that started them ends."""
        try:
            with _quiet_home(self.folder):
                self.open()
        except BaseException as error:  # noqa: BLE001 - told in `wait`
            self._error = error
        self._ready.set()
        self._watch()
        self.close()

    def _watch(self) -> None:
        """Until it is to be stopped. Nothing wakes a thread that has asked the dead but a new process."""
        since = math.inf
        while not self._over.wait(1.0):
            since = min(since, time.monotonic()) if self.lost() else math.inf
            if time.monotonic() > since + STUCK_SECONDS and can_restart():
                cause = f"the Ray cluster was lost ({self.lost()} ended), and a question to it stays open"
                node: Any = ray._private.worker._global_node
                node.kill_all_processes(check_alive=False, allow_graceful=False)
                self._restore()
                restart(cause)

    def open(self) -> None:
        """Starts Ray's own processes and connects to them."""
        ray.init(
            address="local",
            num_cpus=self.workers,
            num_gpus=gpus(self.workers, self.gpu_fraction),
            namespace=uuid4().hex,
            job_config=IsolatedJobConfig(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=str(self.folder / "r"),  # Ray opens it to everyone; the folder above stays ours
        )

    def close(self) -> None:
        """Disconnects and ends what `open` started."""
        collect()
        ray.shutdown()


class IsolatedJobConfig(JobConfig):  # type: ignore[misc,unused-ignore]
    """Keeps the driver's current folder off the workers' path.

    Ray puts it first, where any file in it is imported in place of the library of that name.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def granted() -> int:
    """How many workers of this process Ray has given a place, started or starting; asked now and then."""
    return _granted(int(time.monotonic() / GRANTED_SECONDS))


@lru_cache(maxsize=1)
def _granted(moment: int) -> int:
    groups: dict[str, Any] = placement_group_table()
    mine = ray.get_runtime_context().get_job_id()
    return sum(group["state"] == "CREATED" and name.endswith(mine) for name, group in groups.items())


def started_too_slowly(error: BaseException) -> BaseException:
    """Ray waits 30 s for its own processes, and no setting changes that: a cluster that is lost at once."""
    if not any(words in str(error) for words in TOO_SLOW):
        return error
    return ClusterLost(
        "Ray did not start within its 30 s: this machine is too busy (--engine inline does without)"
    )


def gpus(workers: int, gpu_fraction: float) -> int:
    """How many GPUs so many workers need; a worker's share lies on one GPU."""
    return math.ceil(workers / sharing(gpu_fraction)) if gpu_fraction else 0


def sharing(gpu_fraction: float) -> int:
    """How many workers one GPU has room for."""
    return math.floor(1 / gpu_fraction + 1e-9)


def _checked(workers: int | None, gpu_fraction: float) -> int:
    """How many workers; ValueError where the wish cannot be met."""
    if ray.is_initialized():
        raise ValueError(
            "Ray already runs in this process; call ray.shutdown() first, or use engine='inline'"
        )
    if RAY_CAME_FIRST:
        raise ValueError("Ray was imported without token authentication; set RAY_AUTH_MODE=token before that")
    room, _ = resource.getrlimit(resource.RLIMIT_AS)
    if room != resource.RLIM_INFINITY and room < ADDRESS_BYTES:  # its own threads would abort the process
        raise ValueError(
            f"Ray needs about {ADDRESS_BYTES / 1e9:.0f} GB of address space in each process, and this shell "
            f"allows {room / 1e9:.1f} GB: raise it (ulimit -v), or use --engine inline"
        )
    if not 0 <= gpu_fraction <= 1:
        raise ValueError(f"gpu_fraction = {gpu_fraction:g} must lie in [0, 1]")
    if workers is None:
        return sharing(gpu_fraction) if gpu_fraction else len(os.sched_getaffinity(0))
    if not 1 <= workers <= 1024:
        raise ValueError(f"workers = {workers} must lie in [1, 1024]")
    return workers


def _watchdog(folder: Path) -> subprocess.Popen[bytes]:
    """A process that ends what is left of the cluster if this one is killed (`execution.watchdog`)."""
    program = Path(__file__).with_name("watchdog.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(program), str(folder), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # what ends the driver's group or terminal must not end it
    )


def _token_file(folder: Path) -> Path:
    """The password of this cluster, readable by its owner only."""
    file = folder / "token"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
        text.write(_token())
    return file


@contextmanager
def _quiet_home(folder: Path) -> Iterator[None]:
    """A home folder for Ray's own processes in which they find what cloud they are on: none.

    Even without dashboard and usage statistics, Ray 2.60 asks the addresses where clouds describe
    their machines, unless its home holds a cluster's configuration. Workers get the real home back.
    """
    (folder / "ray_bootstrap_config.yaml").write_text("{}\n", encoding="utf-8")
    home = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("HOME")
        if home is not None:
            os.environ["HOME"] = home


@lru_cache(maxsize=1)
def _token() -> str:
    """One per process: Ray reads it once and remembers it."""
    return secrets.token_hex(32)
