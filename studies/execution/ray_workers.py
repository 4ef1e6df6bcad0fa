"""Trains packs on Ray: one Tune trial per pack, on long-lived workers. With `cluster` the door to Ray.

Ray places the packs and notices dead workers; what is trained next and how often a pack is tried again is
the scheduler's business, and nothing of Tune's own state is ever read back. Tune ends worker processes that
have no trial, and starting one takes seconds; so a worker without a pack has a trial that idles until there
is work. Tune also gives a worker that has ended its trial to whichever trial waits, and ends the process that
was just starting for that one; so no trial ends while a worker starts. Fractions of GPUs are untested.
"""

from __future__ import annotations

import itertools
import json
import logging
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

from studies.execution import restart
from studies.execution.failure_kinds import ClusterLost, kernel_kills, of_lost_worker
from studies.execution.lost_workers import cause_of_loss, error_text
from studies.execution.pack_payload import TaskDiffers, order_for, task_of
from studies.execution.pack_trainer import REST, PackTrainer
from studies.execution.ray_release import clear_frames, take_apart
from studies.execution.timeouts import LEASE_FACTOR, PackTimeout, least_seconds
from studies.execution.trainable import shell_of
from studies.execution.worker_starts import WorkerStarts
from studies.packing import FLOPS_PER_SECOND, expected_seconds, recorded
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from studies.execution.failure_kinds import Kind
    from studies.execution.scheduler import Scheduler
    from studies.packing import Pack
    from trainers.tasks.user_tasks import TaskSource

log = logging.getLogger("groundrules.workers")

START_SECONDS = 120.0
"""A worker that has not started after so long is no longer waited for."""
LOOK_SECONDS = 2.0
"""A worker that has no place after so long waits for one: the cluster is full, or a machine is gone."""
MOST_WORKERS = 1024

# Tune counts callbacks for usage statistics, which are off here; to tell their kinds it would import MLflow,
# TensorBoard and more before the first worker is asked for: 4 seconds.
usage.tag_callbacks = lambda callbacks: False


def run_ray(
    scheduler: Scheduler,
    *,
    tasks_from: TaskSource | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    on_tick: Callable[[], None] | None = None,
    cluster: WorkerPool | None = None,
) -> None:
    """Trains until the scheduler is done; every pack is committed as it arrives.

    Args:
        scheduler: what is to be trained; also receives the results.
        tasks_from: the user's task file, which each worker loads; or tasks of this process, sent to them.
        workers: packs trained at the same time; None: one per CPU this process may use.
        device: 'cpu', or a torch device; chosen here, never guessed.
        gpu_fraction: share of one GPU each worker asks Ray for (0 for none).
        on_tick: called in this thread about ten times a second, and after every commit.
        cluster: one that runs already, with its own workers and fraction; its owner stops it.

    Raises:
        ValueError: Ray already runs in this process; workers or gpu_fraction out of range; a task that is
            built differently in each process.
        ClusterLost: Ray's own processes have ended; what was in hand is given back to the scheduler.
        KeyboardInterrupt: after the cluster was stopped; what was committed stays.
    """
    if scheduler.done:
        return
    with ExitStack() as exits:
        if cluster is None:
            cluster = exits.enter_context(Cluster(workers, gpu_fraction)).start()
        folder = cluster.wait()
        traces = folder / "traces"
        traces.mkdir(exist_ok=True)
        for number in itertools.count():
            dispatcher = PackDispatcher(
                scheduler, cluster, tasks_from=tasks_from, device=device, traces=traces, on_tick=on_tick
            )
            try:
                with restart.at_work():
                    _tune(dispatcher, cluster, folder / "results", f"packs-{number}")
            except Exception as error:
                if lost := dispatcher.lost or cluster.lost():
                    cluster.stop()
                    dispatcher.give_back("the cluster was lost", "preempted")
                    raise ClusterLost(f"the Ray cluster was lost ({lost} ended)") from error
                if not isinstance(error.__cause__, OutOfMemoryError):
                    raise
                # Where Ray ends several workers at once for want of memory, Tune knows no answer.
                text = str(error.__cause__).partition("\n")[0]
                kind, cause = of_lost_worker(text, None, killed_for_memory=True)
                log.warning("%s", cause)
                dispatcher.give_back(cause, kind)
            else:
                return


def _tune(dispatcher: PackDispatcher, cluster: WorkerPool, storage: Path, name: str) -> None:
    """One experiment of Ray Tune's, until the scheduler is done; nothing of Ray's is held afterwards."""
    order = FirstInFirstOut()
    try:
        tune.run(
            shell_of(PackTrainer),
            name=name,
            num_samples=-1,
            search_alg=PackSearcher(dispatcher),
            scheduler=order,
            stop=dispatcher.ends,
            callbacks=[dispatcher],
            max_concurrent_trials=MOST_WORKERS,  # the dispatcher counts: a cluster may grow
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
        dispatcher.let_go()
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
    """The driver's side: hands out packs, collects results, and brings both to the scheduler.

    Tune treats an exception in most hooks as the trial's failure. So the hooks only collect, and
    `on_step_end`, which Tune does not guard, commits: a full disk stops the run as it should.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        place: WorkerPool,
        *,
        tasks_from: TaskSource | None,
        device: str,
        traces: Path,
        on_tick: Callable[[], None] | None,
    ) -> None:
        self.scheduler = scheduler
        self._place = place
        self._tasks_from = place.carried(tasks_from)
        self._device = device
        self._on_tick = on_tick or (lambda: None)
        self._traces = traces
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
        """Taken from the scheduler for the next worker that asks."""
        self._arrived: list[tuple[str, dict[str, Any]]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes it into snapshots that nobody reads."""
        return {}

    def next_order(self, trial_id: str) -> dict[str, Any] | str | None:
        """What Tune's searcher answers: a trial's config, 'finished', or None while there are enough."""
        self._look_after_ray()  # for a new trial Tune asks Ray's head, and would wait for a dead one
        if self.scheduler.done:
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
            trace=self._traces / trial_id,
            kernel_kills=kernel_kills(),
            handed=time.monotonic(),
        )
        if self._place.home:  # on this machine: a worker killed before it opens its file leaves an empty one
            lease.trace.touch()
        order = order_for(
            pack,
            task,
            tasks_from=self._tasks_from,
            device=self._device,
            diagnostics=recorded(pack, self.scheduler.diagnostics),
            trace=lease.trace,
            home=self._place.home,
        )
        return {"order": json.dumps(order)}  # one string: Tune flattens, copies and prints nested configs

    def ends(self, trial_id: str, result: Mapping[Any, Any]) -> bool:
        """Whether Tune is to end this trial, so that its worker gets the next one.

        Not while another worker starts, unless that takes too long: then its machine may be gone. Who rests
        goes on resting until there is work, or no more to come; a pack whose trial has no place is work.
        """
        if "rest" in result and self.scheduler.done:
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
            self._held = self.scheduler.next_pack()
        if self._held is None and not self._running:
            assert self.scheduler.done, "the scheduler waits for packs nobody is training"
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
        text = error_text(trial.error_file)
        if self._starting.pop(trial.trial_id, None) is not None:
            self._starts.failed(text)
        self._at_work.discard(trial.trial_id)
        self._arrived.append((trial.trial_id, {"lost": text}))

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
            self.scheduler.prepare()
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
            self.scheduler.commit(pack, rows, seconds=answer["seconds"], worker=answer["worker"])
            return
        if trial_id not in self._running:  # it died after its answer had arrived, or after its time was up
            return
        lost = cause_of_loss(self._running[trial_id], answer["lost"]) if "lost" in answer else None
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
        self.scheduler.fail(lease.pack, f"{cause}\n{answer.get('traceback', '')}", kind=kind)

    def _ended(self, trial_id: str) -> PackTimeout:
        """A worker's lease, which is over."""
        lease = self._running.pop(trial_id)
        with suppress(OSError):
            lease.trace.unlink(missing_ok=True)
        return lease

    def give_back(self, cause: str, kind: Kind) -> None:
        """What workers had in hand is lost, and to be trained by others."""
        for lease in self._running.values():
            self.scheduler.fail(lease.pack, cause, kind=kind)
        if self._held is not None:  # nobody has begun it
            self.scheduler.fail(self._held, cause, kind="preempted")

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
        self.scheduler.fail(lease.pack, cause, kind="timeout")


class PackSearcher(Searcher):  # type: ignore[misc,unused-ignore]
    """Tune asks it for configs; it asks the dispatcher for packs."""

    def __init__(self, dispatcher: PackDispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher

    def suggest(self, trial_id: str) -> Any:
        """The next pack as a config, None, or FINISHED."""
        return self._dispatcher.next_order(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: results and failures come through the dispatcher."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is what a resume reads."""


def _end(trial: Any) -> None:
    """Ends a trial's worker process at once; Tune then sees that it was lost."""
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor, no_restart=True)


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
