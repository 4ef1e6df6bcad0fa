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

import itertools
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.execution.local_cluster import Cluster, WorkerPool  # first: it decides how Ray is imported

# isort: split
import ray
from ray import tune
from ray.air._internal import usage
from ray.exceptions import OutOfMemoryError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from reports.io.control_characters import harmless
from studies.execution import restart
from studies.execution.crash_traces import trace_of
from studies.execution.failure_kinds import ClusterLost, kernel_kills, of_lost_start, of_lost_worker
from studies.execution.pack_payload import TaskDiffers, answer_order, member_to_dict, task_of
from studies.execution.ray_release import clear_frames, take_apart
from studies.execution.timeouts import LEASE_FACTOR, PackTimeout, least_seconds
from studies.execution.trainable import shell_of
from studies.execution.worker_starts import WorkerStarts
from studies.packing import FLOPS_PER_SECOND, expected_seconds, recorded
from studies.site import SECRETS
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from studies.execution.failure_kinds import Kind
    from studies.execution.scheduler import Scheduler
    from studies.packing import Pack

log = logging.getLogger("groundrules.workers")

REST_SECONDS = (0.02, 0.25)
"""A worker without a pack looks again after the first of these, then less and less often."""
START_SECONDS = 120.0
"""A worker that has not started after so long is no longer waited for."""
LOOK_SECONDS = 2.0
"""A worker that has no place after so long waits for one: the cluster is full, or a machine is gone."""
MOST_WORKERS = 1024
REST = "rest"
"""The order that is none."""

# Tune counts callbacks for usage statistics, which are off here; to tell their kinds it would import MLflow,
# TensorBoard and more before the first worker is asked for: 4 seconds.
usage.tag_callbacks = lambda callbacks: False


def run_ray(
    agenda: Scheduler,
    *,
    tasks_from: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    on_tick: Callable[[], None] | None = None,
    cluster: WorkerPool | None = None,
) -> None:
    """Trains until the agenda is done; every pack is committed as it arrives.

    Args:
        agenda: what is to be trained; also receives the results.
        tasks_from: the user's task file; each worker loads it for itself.
        workers: packs trained at the same time; None: one per CPU this process may use.
        device: 'cpu', or a torch device; chosen here, never guessed.
        gpu_fraction: share of one GPU each worker asks Ray for (0 for none).
        on_tick: called in this thread about ten times a second, and after every commit.
        cluster: one that was started already, or that was there, with its own workers and fraction; its owner
            stops it.

    Raises:
        ValueError: Ray already runs in this process; workers or gpu_fraction out of range; a task
            that is built differently in each process.
        ClusterLost: Ray's own processes have ended; what was in hand is given back to the agenda.
        KeyboardInterrupt: after the cluster was stopped; what was committed stays.
    """
    if agenda.done:
        return
    with ExitStack() as exits:
        if cluster is None:
            cluster = exits.enter_context(Cluster(workers, gpu_fraction)).start()
        folder = cluster.wait()
        for number in itertools.count():
            exchange = PackDispatcher(agenda, cluster, tasks_from=tasks_from, device=device, on_tick=on_tick)
            exchange.traces = folder / "traces"
            exchange.traces.mkdir(exist_ok=True)
            try:
                with restart.at_work():
                    _tune(exchange, cluster, folder / "results", f"packs-{number}")
            except Exception as error:
                if lost := exchange.lost or cluster.lost():
                    cluster.stop()
                    exchange.give_back("the cluster was lost", "preempted")
                    raise ClusterLost(f"the Ray cluster was lost ({lost} ended)") from error
                if not isinstance(error.__cause__, OutOfMemoryError):
                    raise
                # Where Ray ends several workers at once for want of memory, Tune knows no answer.
                told = str(error.__cause__).partition("\n")[0]
                kind, cause = of_lost_worker(told, None, killed_for_memory=True)
                log.warning("%s", cause)
                exchange.give_back(cause, kind)
            else:
                return


def _tune(exchange: PackDispatcher, cluster: WorkerPool, storage: Path, name: str) -> None:
    """One experiment of Ray Tune's, until the agenda is done; nothing of Ray's is held afterwards."""
    order = FirstInFirstOut()
    try:
        tune.run(
            shell_of(PackTrainer),
            name=name,
            num_samples=-1,
            search_alg=PackSearcher(exchange),
            scheduler=order,
            stop=exchange.ends,
            callbacks=[exchange],
            max_concurrent_trials=MOST_WORKERS,  # the exchange counts: a cluster may grow
            reuse_actors=True,
            resources_per_trial={"cpu": 1, "gpu": cluster.gpu_fraction},
            storage_path=str(storage),
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            raise_on_failed_trial=False,
            max_failures=0,
            verbose=0,
        )
    except BaseException as error:
        clear_frames(error)
        raise
    finally:
        exchange.let_go()
        if order.controller is not None:
            take_apart(order.controller)
        order.controller = None


class FirstInFirstOut(FIFOScheduler):  # type: ignore[misc,unused-ignore]
    """Trials run in the order in which they come; it also knows the controller that Tune keeps to itself."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.controller: Any = None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self.controller = tune_controller


class PackDispatcher(tune.Callback):
    """The driver's side: hands out packs, collects results, and brings both to the agenda.

    Tune treats an exception in most hooks as the trial's failure. So the hooks only collect, and
    `on_step_end`, which Tune does not guard, commits: a full disk stops the run as it should.
    """

    def __init__(
        self,
        agenda: Scheduler,
        place: WorkerPool,
        *,
        tasks_from: Path | None,
        device: str,
        on_tick: Callable[[], None] | None,
    ) -> None:
        self.agenda = agenda
        self._place = place
        self._tasks_from = place.carried(tasks_from)
        self._device = device
        self._on_tick = on_tick or (lambda: None)
        self.traces = Path(tempfile.gettempdir())
        """The folder in which workers on this machine write what ends them."""
        self.lost = ""
        """What of Ray has ended; '' while all is well."""
        self._least = least_seconds()
        self._running: dict[str, PackTimeout] = {}
        self._late: dict[str, Pack] = {}
        """Trials whose worker has had its time; what they still answer is not lost."""
        self._starting: dict[str, float] = {}
        """Trials that were asked for and have no worker yet, and since when."""
        self._at_work: set[str] = set()
        """Trials that have one."""
        self._starts = WorkerStarts()
        self._full = False
        """The cluster had no place for the last one that was asked for."""
        self._held: Pack | None = None
        """Taken from the agenda for the next worker that asks."""
        self._arrived: list[tuple[str, dict[str, Any]]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes it into snapshots that nobody reads."""
        return {}

    def next_order(self, trial_id: str) -> dict[str, Any] | str | None:
        """What Tune's searcher answers: a trial's config, 'finished', or None while there are enough."""
        self._look_after_ray()  # for a new trial Tune asks Ray's head, and would wait for a dead one
        if self.agenda.done:
            return Searcher.FINISHED
        if len(self._starting) + len(self._at_work) >= self._place.workers:
            return None
        self._starting[trial_id] = time.monotonic()
        if not self._ready():
            return {"order": REST}
        pack, self._held = self._held, None
        assert pack is not None
        task = task_of(pack.task, self._tasks_from)
        speed = FLOPS_PER_SECOND.get(self._device.split(":")[0], FLOPS_PER_SECOND["cpu"])
        self._running[trial_id] = lease = PackTimeout(
            pack=pack,
            seconds=max(self._least, LEASE_FACTOR * expected_seconds(pack, task, speed)),
            trace=self.traces / trial_id,
            kernel_kills=kernel_kills(),
            handed=time.monotonic(),
        )
        if (
            self._place.home
        ):  # on this machine: who is killed before it has opened its file leaves an empty one
            lease.trace.touch()
        order = {
            "members": [member_to_dict(member) for member in pack.members],
            "task": pack.task,
            "content_hash": task.content_hash,
            "trace": str(lease.trace),
            "tasks_from": self._tasks_from,
            "device": self._device,
            "diagnostics": recorded(pack, self.agenda.diagnostics),
            "home": self._place.home,
        }
        return {"order": json.dumps(order)}  # one string: Tune flattens, copies and prints nested configs

    def ends(self, trial_id: str, result: Mapping[Any, Any]) -> bool:
        """Whether Tune is to end this trial, so that its worker gets the next one.

        Not while another worker starts, unless that takes too long: then its machine may be gone. Who rests
        goes on resting until there is work, or no more to come; a pack whose trial has no place is work.
        """
        if "rest" in result and self.agenda.done:
            return True
        if result.get("spoiled"):  # its process is to be ended, which must still be this trial's then
            return False
        stranded = any(trial in self._running for trial in self._starting)
        return ("answer" in result or stranded or self._ready()) and not self._a_worker_starts()

    def _a_worker_starts(self) -> bool:
        """Whether one that was asked for is on its way: it has a place, and has not taken too long."""
        if self._place.lost():  # then nobody can say; `on_step_end` ends all
            return True
        now = time.monotonic()
        young = [since for since in self._starting.values() if since > now - START_SECONDS]
        if not young:
            return False
        if self._place.granted() > len(self._at_work):
            self._full = False
            return True
        if now - min(young) > LOOK_SECONDS:
            self._full = True
        return not self._full

    def _ready(self) -> bool:
        """Whether a pack can be handed out now."""
        if self._held is None:
            self._held = self.agenda.next_pack()
        if self._held is None and not self._running:
            assert self.agenda.done, "the agenda waits for packs nobody is training"
        return self._held is not None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._starting.pop(trial.trial_id, None)
        self._at_work.add(trial.trial_id)
        self._starts.succeeded()
        if trial.trial_id in self._running:
            lease = self._running[trial.trial_id]
            lease.begun, lease.trial = time.monotonic(), trial

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._at_work.discard(trial.trial_id)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **_: Any) -> None:
        answer = result.pop("answer", None)  # or Tune keeps every result in memory until the end
        if answer is not None:
            self._arrived.append((trial.trial_id, json.loads(answer)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        told = _told(trial.error_file)
        if self._starting.pop(trial.trial_id, None) is not None:
            self._starts.failed(told)
        self._at_work.discard(trial.trial_id)
        self._arrived.append((trial.trial_id, {"lost": told}))

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self._look_after_ray()
        self._starts.refuse_more(waiting=self._starting.values() if self._place.home else ())
        arrived, self._arrived = self._arrived, []
        for trial_id, answer in arrived:
            self._settle(trial_id, answer)
        for trial_id in [trial_id for trial_id, lease in self._running.items() if lease.over]:
            self._expire(trial_id)
        if len(self._running) < self._place.workers:
            self._ready()  # somebody waits for a pack, or will
        elif not self._starting:
            self.agenda.prepare()
        self._on_tick()

    def _look_after_ray(self) -> None:
        """Ends the experiment where Ray's own processes have ended: a minute later Ray ends this one."""
        if lost := self._place.lost():
            self.lost = lost
            self._place.stop()  # or Tune's clean-up would wait for the dead
            raise ClusterLost(lost)

    def _settle(self, trial_id: str, answer: dict[str, Any]) -> None:
        if "evaluations" in answer:
            pack = self._late.pop(trial_id, None) or self._ended(trial_id).pack
            rows = [Evaluation.from_plain(row) for row in answer["evaluations"]]
            self.agenda.commit(pack, rows, seconds=answer["seconds"], worker=answer["worker"])
            return
        if trial_id not in self._running:  # it died after its answer had arrived, or after its time was up
            return
        lost = _loss(self._running[trial_id], answer["lost"]) if "lost" in answer else None
        lease = self._ended(trial_id)
        if answer.get("kind") == "task":
            raise TaskDiffers(answer["cause"])
        kind, cause = lost or (answer["kind"], answer["cause"])
        log.warning(
            "pack %s failed (%s) after %.1f s: %s\n%s", lease.pack.id, kind, lease.spent, cause,
            answer.get("traceback", ""),
        )  # fmt: skip
        if answer.get("spoiled"):
            _end(lease.trial)
        self.agenda.fail(lease.pack, f"{cause}\n{answer.get('traceback', '')}", kind=kind)

    def _ended(self, trial_id: str) -> PackTimeout:
        """A worker's lease, which is over."""
        lease = self._running.pop(trial_id)
        with suppress(OSError):
            lease.trace.unlink(missing_ok=True)
        return lease

    def give_back(self, cause: str, kind: Kind) -> None:
        """What workers had in hand is lost, and to be trained by others."""
        for lease in self._running.values():
            self.agenda.fail(lease.pack, cause, kind=kind)
        if self._held is not None:  # nobody has begun it
            self.agenda.fail(self._held, cause, kind="preempted")

    def let_go(self) -> None:
        """Forgets Tune's trials, which hold the workers."""
        for lease in self._running.values():
            lease.trial = None

    def _expire(self, trial_id: str) -> None:
        """Ends a worker that has had its time; its pack goes to another one."""
        lease = self._ended(trial_id)
        self._late[trial_id] = lease.pack
        _end(lease.trial)
        cause = f"no answer after {lease.spent:.0f} s; at most {lease.seconds:.0f} s were expected"
        log.warning("pack %s: %s", lease.pack.id, cause)
        self.agenda.fail(lease.pack, cause, kind="timeout")


class PackSearcher(Searcher):  # type: ignore[misc,unused-ignore]
    """Tune asks it for configs; it asks the exchange for packs."""

    def __init__(self, exchange: PackDispatcher) -> None:
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


class PackTrainer:
    """The worker's side: trains one pack per step, then serves the next trial in the same process."""

    def setup(self, config: dict[str, Any]) -> None:
        for key in ("ledger_password_file", "tracking_password_file"):
            os.environ.pop(SECRETS[key], None)  # workers need no store, and run the code of task files
        self._order: str = config["order"]
        self._rest = REST_SECONDS[0]
        self._spoiled = False

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
        return {"answer": answer, "spoiled": self._spoiled}

    def answered(self, order: str) -> str:
        """What goes back to the driver for an order."""
        found = answer_order(json.loads(order))
        self._spoiled = bool(found.get("spoiled"))
        return json.dumps(found)


def _told(error_file: str | None) -> str:
    """What Ray noted about a lost worker."""
    with suppress(OSError):
        return Path(error_file or "").read_text(encoding="utf-8")
    return ""


def _loss(lease: PackTimeout, told: str) -> tuple[str, str]:
    """Why the worker of a pack was lost: kind and cause."""
    if lease.begun is None:
        return of_lost_start(told)
    oom = kernel_kills() > lease.kernel_kills
    kind, cause = of_lost_worker(told, trace_of(lease.trace), killed_for_memory=oom)
    return kind, harmless(cause, 400)


def _end(trial: Any) -> None:
    """Ends a trial's worker process at once; Tune then sees that it was lost."""
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor, no_restart=True)


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
