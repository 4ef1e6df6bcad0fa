"""Trains packs on Ray: one Tune trial per pack, on long-lived worker processes. The only door to Ray.

Ray places the packs and notices dead workers; what is trained next and how often a pack is tried
again is the agenda's business, and nothing of Tune's own state is ever read back. The cluster is
local, private to one call, without a dashboard, behind a token of its own, and gone afterwards.
GPUs are handed out by fractions of a device; that path has never run on a real GPU.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

RAY_CAME_FIRST = "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token"
os.environ["RAY_AUTH_MODE"] = "token"  # read once, while Ray is imported

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from search_spaces.config import Config  # noqa: E402
from trainers.evaluation import Evaluation, Slot  # noqa: E402
from trainers.member import Member  # noqa: E402

if TYPE_CHECKING:
    from studies.packing import Pack
    from studies.work import Work
    from trainers.task import Task, TaskBook

log = logging.getLogger("groundrules.workers")

OBJECT_STORE_BYTES = 200_000_000
"""A pack's result is about a megabyte; Ray would reserve 30 % of the machine's memory."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's would swallow the first Ctrl-C
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the ledger is the memory; Tune's snapshots are never read
}
SET_BY_RAY = ("PYTHONBREAKPOINT",)
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class TaskDiffers(ValueError):
    """A worker's copy of a task is not the driver's: training on it would compare unlike things."""


def run_ray(
    agenda: Work,
    *,
    tasks_from: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    on_tick: Callable[[], None] | None = None,
) -> None:
    """Trains until the agenda is done; every pack is committed as it arrives.

    Args:
        agenda: what is to be trained; also receives the results.
        tasks_from: the user's task file; each worker loads it for itself.
        workers: packs trained at the same time; None: one per CPU this process may use.
        device: 'cpu', or a torch device; chosen here, never guessed.
        gpu_fraction: share of one GPU each worker asks Ray for (0 for none).
        on_tick: called in this thread about ten times a second, and after every commit.

    Raises:
        ValueError: Ray already runs in this process; workers or gpu_fraction out of range; a task
            that is built differently in each process.
        KeyboardInterrupt: after the cluster was stopped; what was committed stays.
    """
    if agenda.done:
        return
    workers = _checked(workers, gpu_fraction)
    exchange = Exchange(agenda, tasks_from=tasks_from, device=device, on_tick=on_tick)
    with _cluster(workers, gpu_fraction) as folder:
        tune.run(
            PackTrainer,
            name="packs",
            num_samples=-1,
            search_alg=PackSearcher(exchange),
            callbacks=[exchange],
            max_concurrent_trials=workers,
            reuse_actors=True,
            resources_per_trial={"cpu": 1, "gpu": gpu_fraction},
            storage_path=str(folder / "results"),
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            raise_on_failed_trial=False,
            max_failures=0,
            verbose=0,
        )


class Exchange(tune.Callback):
    """The driver's side: hands out packs, collects results, and brings both to the agenda.

    Tune treats an exception in most hooks as the trial's failure. So the hooks only collect, and
    `on_step_end`, which Tune does not guard, commits: a full disk stops the run as it should.
    """

    def __init__(
        self,
        agenda: Work,
        *,
        tasks_from: Path | None,
        device: str,
        on_tick: Callable[[], None] | None,
    ) -> None:
        self.agenda = agenda
        self._tasks_from = str(tasks_from.resolve()) if tasks_from else None
        self._device = device
        self._on_tick = on_tick or (lambda: None)
        self._running: dict[str, tuple[Pack, float]] = {}
        self._arrived: list[tuple[str, dict[str, Any]]] = []

    def next_order(self, trial_id: str) -> dict[str, Any] | str | None:
        """What Tune's searcher answers: a trial's config, None for 'ask again', or 'finished'."""
        if self.agenda.done:
            return Searcher.FINISHED
        pack = self.agenda.next_pack()
        if pack is None:
            assert self._running or self.agenda.done, "the agenda waits for packs nobody is training"
            return None
        self._running[trial_id] = (pack, time.monotonic())
        order = {
            "members": [member_plain(member) for member in pack.members],
            "task": pack.task,
            "content_hash": _task(pack.task, self._tasks_from).content_hash,
            "tasks_from": self._tasks_from,
            "device": self._device,
            "diagnostics": self.agenda.diagnostics,
            "home": os.path.expanduser("~"),
        }
        return {"order": json.dumps(order)}  # one string: Tune flattens, copies and prints nested configs

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **_: Any) -> None:
        answer = result.pop("answer", None)  # or Tune keeps every result in memory until the end
        if answer is not None:
            self._arrived.append((trial.trial_id, json.loads(answer)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._arrived.append((trial.trial_id, {"kind": "crash", "cause": crash_cause(trial.error_file)}))

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        arrived, self._arrived = self._arrived, []
        for trial_id, answer in arrived:
            self._settle(trial_id, answer)
        self._on_tick()

    def _settle(self, trial_id: str, answer: dict[str, Any]) -> None:
        if trial_id not in self._running:  # a worker that died after its answer had arrived
            return
        pack, started = self._running.pop(trial_id)
        worker = answer.get("worker", "")
        if "evaluations" in answer:
            rows = [Evaluation.from_plain(row) for row in answer["evaluations"]]
            self.agenda.commit(pack, rows, seconds=answer["seconds"], worker=worker)
        elif answer["kind"] == "task":
            raise TaskDiffers(answer["cause"])
        else:
            log.warning(
                "pack %s failed (%s) after %.1f s: %s\n%s", pack.id, answer["kind"],
                time.monotonic() - started, answer["cause"], answer.get("traceback", ""),
            )  # fmt: skip
            self.agenda.fail(pack, answer["cause"], kind=answer["kind"])


class PackSearcher(Searcher):  # type: ignore[misc,unused-ignore]
    """Tune asks it for configs; it asks the exchange for packs."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def suggest(self, trial_id: str) -> Any:
        """The next pack as a config, None, or FINISHED."""
        return self._exchange.next_order(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: results and failures come through the exchange."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is what a resume reads."""


class PackTrainer(tune.Trainable):
    """The worker's side: trains one pack per step, then serves the next trial in the same process."""

    def setup(self, config: dict[str, Any]) -> None:
        self._order: str = config["order"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._order = new_config["order"]
        return True

    def step(self) -> dict[str, Any]:
        return {"answer": json.dumps(answer_order(json.loads(self._order))), "done": True}


def answer_order(order: dict[str, Any]) -> dict[str, Any]:
    """Trains the pack of one order; an exception becomes an answer with its cause, not a crash."""
    import torch  # the driver never needs it

    from trainers.pack import train_pack

    torch.set_num_threads(1)
    os.environ["HOME"] = order["home"]
    worker = f"{os.uname().nodename}:{os.getpid()}"
    started = time.perf_counter()
    try:
        task = _task(order["task"], order["tasks_from"])
        if task.content_hash != order["content_hash"]:
            raise TaskDiffers(
                f"task '{task.name}' has other data in a worker than in the main process: its function must "
                "return the same arrays every time (fix its random seed)"
            )
        members = [member_from_plain(row) for row in order["members"]]
        evaluations = train_pack(members, task, device=order["device"], diagnostics=order["diagnostics"])
    except TaskDiffers as error:
        return {"kind": "task", "cause": str(error), "worker": worker}
    except Exception as error:  # noqa: BLE001 - whatever a user's network raises is this pack's failure only
        kind = "memory" if isinstance(error, (MemoryError, torch.OutOfMemoryError)) else "error"
        return {"kind": kind, "cause": cause_of(error), "traceback": traceback.format_exc(), "worker": worker}
    return {
        "evaluations": [evaluation.plain() for evaluation in evaluations],
        "seconds": time.perf_counter() - started,
        "worker": worker,
    }


def member_plain(member: Member) -> dict[str, Any]:
    """A member as JSON-ready data."""
    return {
        "slot": member.slot.plain(),
        "config": member.config.plain(),
        "seed_index": member.seed_index,
        "arm": member.arm,
        "salt": member.salt,
        "rungs": member.rungs,
    }


def member_from_plain(row: dict[str, Any]) -> Member:
    """The inverse of `member_plain`."""
    return Member(
        **{
            **row,
            "slot": Slot(**row["slot"]),
            "config": Config.from_plain(row["config"]),
            "rungs": tuple((step, metric) for step, metric in row["rungs"]),
        }
    )


def cause_of(error: BaseException) -> str:
    """An exception in one line: type, message, and the innermost place of ours or the user's."""
    message = " ".join(str(error).split())[:400]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"


def crash_cause(error_file: str | None) -> str:
    """What Ray noted about a lost worker, in one line."""
    text = ""
    with suppress(OSError):
        text = " ".join(Path(error_file or "").read_text(encoding="utf-8").split())
    detail = text.partition("Worker exit detail: ")[2]
    return f"the worker process died: {detail or text or 'no reason given'}"[:400]


@lru_cache(maxsize=4)
def _book(tasks_from: str | None) -> TaskBook:
    from trainers.user_tasks import task_book

    return task_book(Path(tasks_from) if tasks_from else None)


@lru_cache(maxsize=64)
def _task(name: str, tasks_from: str | None) -> Task:
    return _book(tasks_from)[name]()


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


def _checked(workers: int | None, gpu_fraction: float) -> int:
    """How many workers; ValueError where the wish cannot be met."""
    if ray.is_initialized():
        raise ValueError(
            "Ray already runs in this process; call ray.shutdown() first, or use engine='inline'"
        )
    if RAY_CAME_FIRST:
        raise ValueError("Ray was imported without token authentication; set RAY_AUTH_MODE=token before that")
    if not 0 <= gpu_fraction <= 1:
        raise ValueError(f"gpu_fraction = {gpu_fraction:g} must lie in [0, 1]")
    if workers is None:
        return int(1 // gpu_fraction) if gpu_fraction else len(os.sched_getaffinity(0))
    if not 1 <= workers <= 1024:
        raise ValueError(f"workers = {workers} must lie in [1, 1024]")
    return workers


@contextmanager
def _cluster(workers: int, gpu_fraction: float) -> Iterator[Path]:
    """A local Ray cluster in a folder of its own, both removed at the end."""
    folder, lock = _own_folder()
    before = {
        name: os.environ.get(name) for name in (*ENVIRONMENT, *THREADS, *SET_BY_RAY, "RAY_AUTH_TOKEN_PATH")
    }
    on_sigterm = signal.getsignal(signal.SIGTERM)
    os.environ.update(ENVIRONMENT, **THREADS, RAY_AUTH_TOKEN_PATH=str(_token_file(folder)))
    levels = {name: logging.getLogger(name).level for name in ("ray", "ray.tune")}
    try:
        with _quiet_home(folder):
            ray.init(
                address="local",
                num_cpus=workers,
                num_gpus=math.ceil(workers * gpu_fraction),
                namespace=uuid4().hex,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=str(folder / "r"),  # Ray opens it to everyone; the folder above stays ours
            )
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are ours to tell, in one line
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray replaces it by one that skips our clean-up
        yield folder
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


PREFIX = "groundrules-"


def _own_folder() -> tuple[Path, IO[str]]:
    """A new private folder and the lock that says it is in use; those of killed runs are removed.

    Directly under /tmp where there is one: the names of Ray's sockets must stay below 108 bytes.
    """
    root = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    for old in root.glob(f"{PREFIX}*/lock"):
        with suppress(OSError), old.open("r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    lock = (folder / "lock").open("w", encoding="utf-8")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


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
