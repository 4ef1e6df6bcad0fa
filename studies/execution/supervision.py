"""Goes on when the embedded cluster is lost: a fresh one takes its place, and nobody has to be asked.

Ray's head process is not built to survive its own death, and everything on its cluster dies with it. The
ledger holds all that has been trained, so a fresh cluster only redoes what was in hand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from studies.execution.failure_kinds import ClusterLost
from studies.execution.local_cluster import Cluster
from studies.execution.ray_workers import run_ray

if TYPE_CHECKING:
    from studies.execution.local_cluster import WorkerPool
    from studies.execution.scheduler import Scheduler
    from trainers.tasks.user_tasks import TaskSource

log = logging.getLogger("groundrules.workers")

CLUSTERS = 3
"""So many that are lost one after another, before a pack has come in, end the run."""


def run_supervised(
    scheduler: Scheduler,
    *,
    tasks_from: TaskSource | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    on_tick: Callable[[], None] | None = None,
    cluster: WorkerPool | None = None,
) -> None:
    """As `execution.ray_workers.run_ray`, on one embedded cluster after the other where they are lost.

    Raises:
        ClusterLost: a cluster that is not ours to replace was lost, or too many of ours.
    """
    barren = 0
    with ExitStack() as exits:
        while not scheduler.done:
            if cluster is None:
                cluster = exits.enter_context(Cluster(workers, gpu_fraction)).start()
            before = scheduler.finished
            try:
                run_ray(scheduler, tasks_from=tasks_from, device=device, on_tick=on_tick, cluster=cluster)
            except ClusterLost as error:
                barren = 1 if scheduler.finished > before else barren + 1
                if barren == CLUSTERS or not isinstance(cluster, Cluster):
                    raise
                log.warning("%s; the study goes on with a fresh cluster", error)
                workers, gpu_fraction = cluster.workers, cluster.gpu_fraction
                cluster.stop()
                cluster = None
