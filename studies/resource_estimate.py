"""What disk and memory a study will need on this machine, held against what there is.

All sizes were measured on this kind of machine (CPU, torch 2.14, Ray 2.60, MLflow 3.17) on studies of 264 to
3,200 members; they are meant to be right within a third, and to err upwards.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from search_spaces.config import Config
from studies.comparison.protocol import Chain, ComparisonProtocol
from studies.execution.planned_work import PlannedWork
from studies.free_resources import free_disk, free_memory
from studies.kinds import AnyProtocol, AnySpec, kind_of
from studies.packing import FLOPS_PER_SECOND, pack_limit
from studies.range_scan.protocol import RangeScanProtocol
from studies.search.generations import members_of
from studies.search.protocol import SearchProtocol
from studies.site import Site, site_of
from studies.spec.tracking_detail import DETAILS, Detail
from trainers.loop.structure import activation_bytes
from trainers.networks import network_for
from trainers.tasks.task import Task, TaskBook
from trainers.tasks.user_tasks import TaskSource, task_book

IGNORE = "GROUNDRULES_IGNORE_RESOURCES"
"""The environment variable that lets a study run which does not seem to fit."""
LIBRARIES = 320_000_000
"""Memory of one worker's own, before its first pack: Python, torch and our modules (309 MB measured)."""
FIRST_PACK = 80_000_000
"""More of it from the first pack on: torch's code for training, a task's data (55 to 73 MB)."""
RAY = 500_000_000
"""Of all workers together: Ray's own processes (259 MB), and what this process grows by (about 150 MB)."""
WEIGHT_COPIES = 13
"""Of every weight of a pack at its peak: the weights, gradients, moments, the best so far, and what a step of
an optimizer makes in passing (12.1 measured with AdamW, from 3 to 1,076 thousand weights a member)."""
ACTIVATION_SHARE = 1.6
"""Of `activation_bytes` at its peak."""
MEMBER = 2_700
"""Bytes of one evaluation in the ledger, without its curve: document, hash, seal, index."""
CURVE_POINT = 60
"""Of one point of its curve there."""
JUDGED = 1_300, 260
"""Of the diagnostics of a judged member, and of each of its layers."""
RUN = 11_000
"""Bytes of one run in MLflow: 17 tags, 27 parameters, 10 metrics."""
METRIC = 260
"""Of one point of a metric there, indexes included."""
CURVES = 5
"""Metrics of a curve there."""
PAGES = 4_000_000
"""Pages of a study and their copy beside MLflow's runs."""
EMPTY = 2_000_000
"""The databases without any study, and what they write in passing."""


@dataclass(frozen=True, kw_only=True)
class ResourceNeeds:
    """What a study will need, in bytes."""

    ledger: int
    """Of disk in the workspace; 0 where the site's ledger is elsewhere,"""
    tracking: int
    """as is MLflow's store."""
    pages: int
    worker: int
    """Of memory, for each worker at its peak."""
    workers: int
    """That train at the same time; 0 where they are on other machines."""
    shared: int
    """Of memory, for all workers together."""
    disk_free: int
    memory_free: int
    least_tracking: int
    """What `tracking` would be with the least detail."""

    @property
    def disk(self) -> int:
        """Of disk in the workspace."""
        return self.ledger + self.tracking + self.pages

    @property
    def memory(self) -> int:
        """Of memory on this machine."""
        return self.shared + self.worker * self.workers

    @property
    def fits(self) -> bool:
        """Whether there is as much."""
        return self.disk <= self.disk_free and (not self.workers or self.memory <= self.memory_free)

    def sentence(self) -> str:
        """What is needed, and what there is."""
        disk = f"disk {_size(self.disk)} of {_size(self.disk_free)} that are free"
        if not self.workers:
            return f"needs about: {disk}"
        who = "this process" if self.workers == 1 and not self.shared else f"{self.workers} workers"
        return f"needs about: {disk}, memory {_size(self.memory)} for {who} of {_size(self.memory_free)}"

    def plain(self) -> dict[str, int | bool]:
        """As JSON-ready data."""
        return {
            "disk_bytes": self.disk, "ledger_bytes": self.ledger, "tracking_bytes": self.tracking,
            "pages_bytes": self.pages, "disk_free_bytes": self.disk_free, "memory_bytes": self.memory,
            "worker_bytes": self.worker, "workers": self.workers, "memory_free_bytes": self.memory_free,
            "fits": self.fits,
        }  # fmt: skip


def resource_needs(
    fixed: AnyProtocol,
    book: TaskBook,
    *,
    site: Site,
    members: Mapping[str, int],
    detail: Detail,
    workers: int,
    shared: bool,
    device: str = "cpu",
) -> ResourceNeeds:
    """What is still to be trained of a study will need.

    Args:
        fixed: its protocol.
        book: of its tasks.
        site: where its workspace is, and what of it is elsewhere.
        members: phase -> how many are to be trained.
        detail: how much MLflow shows.
        workers: that train here at the same time; 0 where they are on other machines.
        shared: whether Ray is still to be started here: else one process trains, which has its libraries.
        device: where they train; on a GPU, packs take none of this memory.
    """
    looks, layers = _curve_sizes(fixed)
    judged = sum(members.get(phase, 0) for phase in ("confirm", "external", "search"))
    total = sum(members.values())
    ledger = EMPTY + total * (MEMBER + looks * CURVE_POINT) + judged * (JUDGED[0] + layers * JUDGED[1])
    tracking = {d: _tracking_bytes(d, total, judged, looks, layers) for d in DETAILS}
    on_cpu = device.startswith("cpu") and workers
    pack = largest_pack(fixed, book, max(members.values(), default=1)) if on_cpu else 0
    return ResourceNeeds(
        ledger=0 if site.ledger else ledger,
        tracking=0 if site.tracking else tracking[detail],
        least_tracking=0 if site.tracking else tracking["cells"],
        pages=PAGES,
        worker=pack + FIRST_PACK + (LIBRARIES if shared else 0),
        workers=workers,
        shared=RAY if shared and workers else 0,
        disk_free=free_disk(site.workspace),
        memory_free=free_memory(),
    )


def needs_of_plan(
    spec: AnySpec, members: Mapping[str, int], workspace: Path, tasks_from: TaskSource | None, workers: int
) -> ResourceNeeds:
    """What a whole study will need with so many workers here; arguments as of `resource_needs`."""
    book = task_book(tasks_from)
    return resource_needs(
        kind_of(spec).protocol(spec, book),
        book,
        site=site_of(workspace),
        members=members,
        detail=spec.tracking,
        workers=workers,
        shared=True,
    )


def needs_of_run(
    work: PlannedWork,
    finished: int,
    fixed: AnyProtocol,
    book: TaskBook,
    *,
    workspace: Path,
    workers: int,
    shared: bool,
    device: str,
) -> ResourceNeeds:
    """What is left of a study will need.

    Args:
        work: all that it trains.
        finished: members that the ledger holds.
        fixed: as the others, of `resource_needs`.
        book: of its tasks.
        workspace: of the study.
        workers: that train here at the same time.
        shared: whether Ray is still to be started here.
        device: where they train.
    """
    left = 1 - finished / max(1, work.total)
    return resource_needs(
        fixed, book, site=site_of(workspace), detail=fixed.study.tracking, workers=workers, shared=shared,
        device=device,
        members={phase: math.ceil(left * count) for phase, count in work.by_phase.items()},
    )  # fmt: skip


def refuse_what_does_not_fit(needs: ResourceNeeds, file: str) -> None:
    """ValueError where disk or memory of this machine will not do: how much is needed, and what to change."""
    if needs.fits or os.environ.get(IGNORE):
        return
    anyway = f"({IGNORE}=1 runs it nevertheless)"
    if needs.disk > needs.disk_free:
        less = needs.disk - needs.tracking + needs.least_tracking
        change = f"`tracking: cells` needs {_size(less)}, " if less <= needs.disk_free else ""
        raise ValueError(
            f"{file}: the study needs about {_size(needs.disk)} of disk (ledger {_size(needs.ledger)}, "
            f"MLflow {_size(needs.tracking)}), and {_size(needs.disk_free)} are free: {change}name another "
            f"--workspace, or free some {anyway}"
        )
    fitting = max(0, needs.memory_free - needs.shared) // needs.worker
    fewer = 1 <= fitting < needs.workers
    change = f"use --workers {fitting}" if fewer else "use a smaller network, or a smaller pack_size"
    raise ValueError(
        f"{file}: the study needs about {_size(needs.memory)} of memory ({needs.workers} at a time, "
        f"{_size(needs.worker)} each), and {_size(needs.memory_free)} are free: {change} {anyway}"
    )


def largest_pack(fixed: AnyProtocol, book: TaskBook, most: int) -> int:
    """Bytes that the pack which needs most takes at its peak, beyond the libraries.

    Args:
        fixed: the protocol.
        book: of its tasks.
        most: members that are trained in one phase.
    """
    sizes = [pack_bytes(config, task, min(most, size)) for config, task, size in _packs_of(fixed, book)]
    return max(sizes, default=0)


def pack_bytes(config: Config, task: Task, pack_size: int) -> int:
    """Bytes that a full pack of such members takes at its peak: whichever member is trained or judged."""
    number = 8 if config.setting.precision == "float64" else 4
    weights = WEIGHT_COPIES * number * network_for(config, task).parameters.size
    activations = ACTIVATION_SHARE * activation_bytes(config, task)
    return round(pack_limit(config, task, pack_size, FLOPS_PER_SECOND["cpu"]) * (weights + activations))


def _tracking_bytes(detail: Detail, total: int, judged: int, looks: int, layers: int) -> int:
    """Bytes in MLflow's tables: a run for each member that is shown, and one for each cell of about six."""
    runs = {"cells": 0, "evidence": judged}.get(detail, total)
    curved = {"cells": 0, "curves": total}.get(detail, judged)
    points = curved * looks * CURVES + (judged * layers * 12 if runs else 0)
    return EMPTY + (runs + total // 6) * RUN + points * METRIC


def _curve_sizes(fixed: AnyProtocol) -> tuple[int, int]:
    """The most points of a curve and the most hidden layers of a member."""
    settings = [config.setting for config in _configs(fixed)]
    return max(s.evaluations for s in settings), max(s.depth for s in settings)


def _packs_of(fixed: AnyProtocol, book: TaskBook) -> Iterator[tuple[Config, Task, int]]:
    if isinstance(fixed, SearchProtocol):
        task = book[fixed.study.task]()
        for config in _configs(fixed):
            yield config, task, fixed.study.members_at_once
        return
    inner = fixed.fixed if isinstance(fixed, RangeScanProtocol) else fixed
    facts = inner.facts.values()
    largest = {max(facts, key=lambda f: f.features).name, max(facts, key=lambda f: f.items).name}
    for name in sorted(largest):
        task = book[name]()  # once: a user's function may read for a minute
        for config in _configs(inner, name):
            yield config, task, inner.study.spec.pack_size


def _configs(fixed: AnyProtocol, task: str = "") -> Iterator[Config]:
    """One config of every level in every regime; what makes members larger is at its highest."""
    if isinstance(fixed, SearchProtocol):
        yield from (member.config for member in members_of(0, fixed, {}))
        return
    inner: ComparisonProtocol = fixed.fixed if isinstance(fixed, RangeScanProtocol) else fixed
    study = inner.study
    searched = {
        name: span.high
        for name, span in study.spec.nuisance.items()
        if span and name in ("depth", "width", "batch_size")
    }
    for question in study.asked:
        for regime in question.regimes:
            chain = Chain(factor=question.factor, task=task or study.spec.tasks[0], regime=regime)
            yield from (inner.config(chain, level, searched) for level in question.levels)


def _size(number: int) -> str:
    """Bytes as a person reads them."""
    return f"{number / 1e6:.0f} MB" if number < 950_000_000 else f"{number / 1e9:.1f} GB"
