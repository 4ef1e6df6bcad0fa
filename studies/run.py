"""Runs a study of any kind (`studies.kinds`), or resumes it.

The same call again takes up where the ledger ends, and trains nothing when the study is complete.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from search_spaces.factor import unknown
from studies.execution.failure_causes import cause_of, whole_traceback
from studies.execution.failure_kinds import ClusterLost, by_kind, of_exception
from studies.execution.scheduler import Scheduler
from studies.kinds import AnyProtocol, AnySpec, StudyKind, kind_of
from studies.ledger.ledger import Ledger, StudyRow
from studies.ledger.whole_study import remove
from studies.network_changes import as_started
from studies.packing import FLOPS_PER_SECOND, Pack, recorded
from studies.range_scan.protocol import RangeScanSpec
from studies.resource_estimate import needs_of_run, refuse_what_does_not_fit
from studies.resume_checks import refuse_changed, refuse_other_versions, versions_here
from studies.spec.reserved_names import refuse_reserved
from trainers.loop.pack import train_pack
from trainers.tasks.task import TaskBook
from trainers.tasks.user_tasks import TaskSource, task_book

if TYPE_CHECKING:
    from studies.execution.failure_handling import AbandonedPack
    from studies.execution.local_cluster import WorkerPool

Engine = Literal["ray", "inline"]


class Watch(Protocol):
    """Whoever shows progress: called with the scheduler after every commit or failure, and on ticks."""

    def __call__(self, scheduler: Scheduler, /) -> None: ...


class Tracking(Protocol):
    """Whoever mirrors the ledger elsewhere while the study runs (`studies.tracking.tracker.Tracker`)."""

    def start(self) -> None:
        """Called once the study is in the ledger, before the first member is trained."""

    def stop(self) -> None:
        """Called at the end, also after an error or an interrupt; flushes."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What one call of `run` did, and where the study stands."""

    study: str
    plan_hash: str
    """'' while the pilot is not complete."""
    planned: int
    """Members of the whole study."""
    finished: int
    """Members in the ledger, of this and earlier runs and of the studies that it extends."""
    trained: int
    """Members trained by this run."""
    diverged: int
    failed: tuple[Pack, ...]
    """Packs given up in this run; the next run tries them again."""
    seconds: float
    """Of this run, wall clock."""
    given_up: tuple[AbandonedPack, ...] = ()
    """The same packs with their causes, and whether trying again can help."""
    in_vain: str = ""
    """The cause for which all that was tried failed, so that the run ended early; '' where it did not."""
    pruned: int = 0
    set_aside: int = 0
    """Members of the whole study that could not be trained: gaps, with their causes on the page."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Kind -> attempts that failed, in this and earlier runs."""
    attempts_now: int = 0
    """As many as failed in this run."""
    notes: tuple[str, ...] = ()
    """What a user should know: replaced tasks, too few families, combinations that mean little."""

    @property
    def complete(self) -> bool:
        return self.finished == self.planned and not self.failed


def run(
    spec: AnySpec | RangeScanSpec,
    *,
    workspace: Path,
    tasks_from: TaskSource | None = None,
    engine: Engine = "ray",
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    watch: Watch | None = None,
    tracking: Tracking | None = None,
    cluster: WorkerPool | None = None,
    say: Callable[[str], None] | None = None,
) -> RunSummary:
    """Trains what the ledger does not hold yet.

    Args:
        spec: from `studies.load_study.load`, or from `studies.range_scan.protocol.scope_of`.
        workspace: folder of the ledger; made where missing.
        tasks_from: the user's own tasks: a Python file, or the functions that return them by name.
        engine: 'ray' (worker processes) or 'inline' (this process, for debugging and small studies).
        workers: packs trained at the same time with Ray; None: one per CPU.
        device: torch device of the training.
        gpu_fraction: share of a GPU each worker asks Ray for.
        watch: called with the scheduler as work goes on.
        tracking: started and stopped around the training.
        cluster: for 'ray', one that was started already, or that was there; it brings its own number of
            workers and share of a GPU, and its owner stops it.
        say: called with a sentence on what disk and memory are needed, and what there is.

    Raises:
        SpecError: an unknown task, a combination that cannot mean anything, or the study was started
            here with another spec.
        ValueError: the workspace cannot be written, is in use by another run, or is newer; or the study needs
            more disk or memory than there is.
        KeyboardInterrupt: after an interrupt; everything committed stays and the call can be repeated.
    """
    _check_place(engine, workers, gpu_fraction)
    if cluster is None or cluster.home:  # on a cluster the driver's own machine may have no GPU
        check_device(device)
    if gpu_fraction and ":" in device:
        raise ValueError(
            f"device '{device}' with gpu_fraction: Ray chooses the GPU of each worker; say 'cuda'"
        )
    began = time.monotonic()
    if cluster is not None:
        import studies.execution.ray_workers  # noqa: F401 - takes a second that the cluster needs anyway

        with suppress(ClusterLost):  # one that could not start is replaced later, or named as the reason
            cluster.wait()  # before the user's tasks are run
    book = task_book(tasks_from)
    kind = kind_of(spec)
    protocol, warnings = checked(spec, book)
    with ExitStack() as exits:
        ledger = exits.enter_context(Ledger.open(Path(workspace), create=True))
        exits.enter_context(ledger.hold(protocol.name))
        kind.admit(protocol, ledger)
        begun = ledger.find_study(protocol.name)
        protocol, changes = as_started(protocol, begun)
        row = _start(ledger, kind, protocol, device)
        protocol = replace(protocol, started_as=row.protocol_hash)
        speed = row.terms["flops_per_second"]
        workload = kind.workload(protocol, ledger, book, flops_per_second=speed)
        scheduler = Scheduler(workload, ledger, book)
        before = _trained(ledger, spec.study)
        if not scheduler.done:
            refuse_other_versions(row)
            needs = needs_of_run(
                workload.planned,
                scheduler.finished,
                protocol,
                book,
                workspace=Path(workspace),
                workers=_workers_here(engine, workers, cluster),
                shared=engine == "ray",
                device=device,
            )
            if say is not None:
                say(needs.sentence())
            try:
                refuse_what_does_not_fit(needs, protocol.study.file)
            except ValueError:
                if begun is None:  # nothing was trained: the study may be begun with other values
                    remove(ledger.database, spec.study)
                raise
        if tracking is not None:
            exits.callback(tracking.stop)
            tracking.start()
        if watch is not None:
            watch(scheduler)
        if engine == "inline":
            run_inline(scheduler, book, device, watch)
        elif not scheduler.done:
            from studies.execution.supervision import (
                run_supervised,  # loads Ray, which only this branch needs
            )

            run_supervised(
                scheduler,
                tasks_from=tasks_from,
                workers=workers,
                device=device,
                gpu_fraction=gpu_fraction,
                on_tick=None if watch is None else lambda: watch(scheduler),
                cluster=cluster,
            )
        return RunSummary(
            study=spec.study,
            plan_hash=scheduler.plan_hash,
            planned=scheduler.planned,
            finished=scheduler.finished,
            trained=_trained(ledger, spec.study) - before,
            diverged=scheduler.diverged,
            pruned=scheduler.pruned,
            set_aside=scheduler.set_aside,
            attempts=by_kind(ledger.attempts(spec.study)),
            attempts_now=scheduler.failures.common.attempts,
            failed=tuple(scheduler.failed_packs),
            given_up=tuple(scheduler.failures.reasons),
            in_vain=scheduler.failures.common.last if scheduler.failures.common.certain else "",
            seconds=time.monotonic() - began,
            notes=(*warnings, *changes, *scheduler.notes()),
        )


def run_inline(scheduler: Scheduler, book: TaskBook, device: str = "cpu", watch: Watch | None = None) -> None:
    """Trains pack after pack in this process until the scheduler has nothing ready.

    An error of the training counts as a failed attempt; an interrupt leaves the pack untouched.
    """
    while (pack := scheduler.next_pack()) is not None:
        began = time.monotonic()
        try:
            diagnostics = recorded(pack, scheduler.diagnostics)
            evaluations = train_pack(pack.members, book[pack.task](), device=device, diagnostics=diagnostics)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of a user's network; its cause is recorded
            scheduler.fail(pack, f"{cause_of(error)}\n{whole_traceback(error)}", kind=of_exception(error))
        else:
            scheduler.commit(pack, evaluations, seconds=time.monotonic() - began, worker="inline")
        if watch is not None:
            watch(scheduler)


def checked(spec: AnySpec | RangeScanSpec, book: TaskBook) -> tuple[AnyProtocol, tuple[str, ...]]:
    """What is fixed before training, and what a user should know of it.

    Raises:
        SpecError: an unknown task, or a combination that cannot mean anything.
    """
    kind = kind_of(spec)
    protocol: AnyProtocol = kind.protocol(spec, book)
    return protocol, kind.examine(protocol, book)


def _check_place(engine: str, workers: int | None, gpu_fraction: float) -> None:
    """ValueError before anything is written, if this machine cannot do what is asked."""
    if engine not in ("ray", "inline"):
        raise unknown("engine", engine, ("ray", "inline"))
    if workers is not None and workers < 1:
        raise ValueError(f"workers = {workers} must be at least 1")
    if not 0 <= gpu_fraction <= 1:
        raise ValueError(f"gpu_fraction = {gpu_fraction} must lie in [0, 1]")


def _workers_here(engine: Engine, workers: int | None, cluster: WorkerPool | None) -> int:
    """How many packs are trained on this machine at the same time; 0 on a cluster that was there."""
    if engine == "inline":
        return 1
    if cluster is not None:
        return cluster.workers if cluster.home else 0
    return workers or len(os.sched_getaffinity(0))


def check_device(device: str) -> None:
    """ValueError if nothing can be trained on such a device on this machine, whatever torch calls it."""
    try:
        one = torch.ones(1, device=device, requires_grad=True)
        (one * one).sum().backward()  # type: ignore[no-untyped-call]
        assert one.grad is not None
        works = float(one.grad.sum()) == 2
    except Exception as error:  # noqa: BLE001 - each backend that is missing has an exception of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"device '{device}' cannot be used here: {reason[:300]}") from None
    if not works:
        raise ValueError(f"device '{device}' cannot be used here: it computes nothing")


def _start(ledger: Ledger, kind: StudyKind[Any, Any], protocol: AnyProtocol, device: str) -> StudyRow:
    """The study's row: made at the first run, checked at every later one."""
    study = protocol.study
    row = ledger.find_study(protocol.name)
    if row is not None:
        refuse_changed(row, protocol, ledger.workspace)
        return row
    if kind.parse is not None:
        refuse_reserved(study.file, protocol.name)
    hardware = device.split(":")[0]
    speed = FLOPS_PER_SECOND.get(hardware, FLOPS_PER_SECOND["cpu"])
    if parent := kind.parent(protocol):
        speed = ledger.study(parent).terms["flops_per_second"]
    row = StudyRow(
        name=protocol.name,
        title=study.title,
        protocol_hash=protocol.hash,
        protocol=protocol.plain(),
        terms={
            "flops_per_second": speed,
            "hardware": f"{hardware} ({platform.machine()})",
            "versions": versions_here(),
            "shown": {"diagnostics": study.diagnostics, "tracking": study.tracking},
        },
        started_ms=time.time_ns() // 1_000_000,
    )
    ledger.start_study(row)
    return row


def _trained(ledger: Ledger, study: str) -> int:
    """Members that the ledger holds under a study's own name."""
    return sum(ledger.chain_counts(study).values())
