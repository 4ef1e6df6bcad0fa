"""Trains packs on Ray: one Tune trial per pack, on long-lived workers. With `cluster` the door to Ray.

Ray places the packs and notices dead workers; what is trained next and how often a pack is tried
again is the agenda's business, and nothing of Tune's own state is ever read back. Tune ends worker
processes that have no trial, and starting one takes seconds; so while nothing is ready a worker
rests: a trial that does nothing until there is work. It also gives a worker that has ended its trial to
whichever trial waits, and ends the process that was just starting for that one; so nobody's trial ends
while a worker starts. GPUs are handed out by fractions of a device;
that path has never run on a real GPU.
"""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.cluster import Cluster  # first: it decides how Ray is imported

# isort: split
from ray import tune
from ray.air._internal import usage
from ray.tune.search import Searcher

from reports.characters import harmless
from search_spaces.config import Config
from studies.packing import recorded
from studies.site import SECRETS
from trainers.evaluation import Evaluation, Slot
from trainers.member import Member

if TYPE_CHECKING:
    from studies.packing import Pack
    from studies.work import Work
    from trainers.task import Task, TaskBook

log = logging.getLogger("groundrules.workers")

REST_SECONDS = (0.02, 0.25)
"""A worker without a pack looks again after the first of these, then less and less often."""
START_SECONDS = 120.0
"""A worker that has not started after so long is no longer waited for."""
REST = "rest"
"""The order that is none."""

# Tune counts callbacks for usage statistics, which are off here; to tell their kinds it would import MLflow,
# TensorBoard and more before the first worker is asked for: 4 seconds.
usage.tag_callbacks = lambda callbacks: False


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
    cluster: Cluster | None = None,
) -> None:
    """Trains until the agenda is done; every pack is committed as it arrives.

    Args:
        agenda: what is to be trained; also receives the results.
        tasks_from: the user's task file; each worker loads it for itself.
        workers: packs trained at the same time; None: one per CPU this process may use.
        device: 'cpu', or a torch device; chosen here, never guessed.
        gpu_fraction: share of one GPU each worker asks Ray for (0 for none).
        on_tick: called in this thread about ten times a second, and after every commit.
        cluster: one that was started already, with its own workers and fraction; its owner stops it.

    Raises:
        ValueError: Ray already runs in this process; workers or gpu_fraction out of range; a task
            that is built differently in each process.
        KeyboardInterrupt: after the cluster was stopped; what was committed stays.
    """
    if agenda.done:
        return
    with ExitStack() as exits:
        if cluster is None:
            cluster = exits.enter_context(Cluster(workers, gpu_fraction)).start()
        exchange = Exchange(agenda, tasks_from=tasks_from, device=device, on_tick=on_tick)
        folder = cluster.wait()
        tune.run(
            PackTrainer,
            name="packs",
            num_samples=-1,
            search_alg=PackSearcher(exchange),
            stop=exchange.ends,
            callbacks=[exchange],
            max_concurrent_trials=cluster.workers,
            reuse_actors=True,
            resources_per_trial={"cpu": 1, "gpu": cluster.gpu_fraction},
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
        self._starting: dict[str, float] = {}
        """Trials that were asked for and have no worker yet, and since when."""
        self._held: Pack | None = None
        """Taken from the agenda for the next worker that asks."""
        self._arrived: list[tuple[str, dict[str, Any]]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes it into snapshots that nobody reads."""
        return {}

    def next_order(self, trial_id: str) -> dict[str, Any] | str:
        """What Tune's searcher answers: a trial's config, or 'finished'."""
        if self.agenda.done:
            return Searcher.FINISHED
        self._starting[trial_id] = time.monotonic()
        if not self._ready():
            return {"order": REST}
        pack, self._held = self._held, None
        assert pack is not None
        self._running[trial_id] = (pack, time.monotonic())
        order = {
            "members": [member_plain(member) for member in pack.members],
            "task": pack.task,
            "content_hash": _task(pack.task, self._tasks_from).content_hash,
            "tasks_from": self._tasks_from,
            "device": self._device,
            "diagnostics": recorded(pack, self.agenda.diagnostics),
            "home": os.path.expanduser("~"),
        }
        return {"order": json.dumps(order)}  # one string: Tune flattens, copies and prints nested configs

    def ends(self, trial_id: str, result: Mapping[Any, Any]) -> bool:
        """Whether Tune is to end this trial, so that its worker gets the next one.

        Not while another worker starts, unless that takes too long: then its machine may be gone. Who rests
        goes on resting until there is work, or no more to come.
        """
        if "rest" in result and self.agenda.done:
            return True
        lately = time.monotonic() - START_SECONDS
        starts = any(since > lately for since in self._starting.values())
        return not starts and ("answer" in result or self._ready())

    def _ready(self) -> bool:
        """Whether a pack can be handed out now."""
        if self._held is None:
            self._held = self.agenda.next_pack()
        if self._held is None and not self._running:
            assert self.agenda.done, "the agenda waits for packs nobody is training"
        return self._held is not None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._starting.pop(trial.trial_id, None)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **_: Any) -> None:
        answer = result.pop("answer", None)  # or Tune keeps every result in memory until the end
        if answer is not None:
            self._arrived.append((trial.trial_id, json.loads(answer)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._starting.pop(trial.trial_id, None)
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
        for key in ("ledger_password_file", "tracking_password_file"):
            os.environ.pop(SECRETS[key], None)  # workers need no store, and run the code of task files
        self._order: str = config["order"]
        self._rest = REST_SECONDS[0]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The answer to the order; then rest, until the trial is ended."""
        if self._order == REST:
            time.sleep(self._rest)
            self._rest = min(2 * self._rest, REST_SECONDS[1])
            return {"rest": True}
        answer = self.answered(self._order)
        self._order = REST
        return {"answer": answer}

    def answered(self, order: str) -> str:
        """What goes back to the driver for an order."""
        return json.dumps(answer_order(json.loads(order)))


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
    message = harmless(" ".join(str(error).split()), 400)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"


def crash_cause(error_file: str | None) -> str:
    """What Ray noted about a lost worker, in one line."""
    text = ""
    with suppress(OSError):
        text = " ".join(Path(error_file or "").read_text(encoding="utf-8").split())
    detail = text.partition("Worker exit detail: ")[2]
    return harmless(f"the worker process died: {detail or text or 'no reason given'}", 400)


@lru_cache(maxsize=4)
def _book(tasks_from: str | None) -> TaskBook:
    from trainers.user_tasks import task_book

    return task_book(Path(tasks_from) if tasks_from else None)


@lru_cache(maxsize=64)
def _task(name: str, tasks_from: str | None) -> Task:
    return _book(tasks_from)[name]()


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
