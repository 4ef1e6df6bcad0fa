"""Running a study here from its file to its pages: what `run`, `extend` and the Python interface share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studies.operations.pages import write_pages
from studies.operations.records import record_of

if TYPE_CHECKING:
    from reports.evidence.search_record import SearchRecord
    from reports.evidence.study_record import StudyRecord
    from studies.execution.local_cluster import WorkerPool
    from studies.kinds import AnySpec
    from studies.run import Engine, RunSummary, Watch
    from studies.spec.resolved import ResolvedStudy
    from trainers.tasks.user_tasks import TaskSource


class Mirror(Protocol):
    """MLflow's copy of a study (`studies.tracking.tracker.Tracker`)."""

    @property
    def problem(self) -> str:
        """What it lacks, and why; '' where it lacks nothing."""

    def log_report(self, folder: Path) -> None:
        """Copies the pages."""


@dataclass(frozen=True, kw_only=True)
class TrainedStudy:
    """A study after one run, before its pages are written."""

    study: str
    summary: RunSummary
    mirror: Mirror | None
    """None where MLflow was not asked for."""


@dataclass(frozen=True, kw_only=True)
class StudyPages:
    """What a run writes into the workspace at its end."""

    record: StudyRecord | SearchRecord
    page: Path
    defaults: Path | None
    """None where the study carries no verdicts."""


def train(
    spec: AnySpec,
    *,
    workspace: Path,
    tasks_from: TaskSource | None = None,
    engine: Engine = "ray",
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    place: WorkerPool | None = None,
    display: Watch | None = None,
    mlflow: bool = True,
    say: Callable[[str], None] | None = None,
) -> TrainedStudy:
    """Trains what the ledger does not hold yet; the same call again resumes.

    Args:
        spec: the study, at the profile that is to run.
        workspace: folder of the ledger; made where missing.
        tasks_from: the user's own tasks.
        engine: 'ray' or 'inline'.
        workers: packs trained at the same time with Ray; None: one per CPU.
        device: torch device of the training.
        gpu_fraction: share of a GPU for each worker, 0 to 1.
        place: a cluster that was started already.
        display: shows progress; None: nothing is shown.
        say: is given one line on what it needs of disk and memory.
        mlflow: whether every run is written to MLflow as well.

    Raises:
        ValueError: as `studies.run.run`.
        KeyboardInterrupt: after an interrupt; everything committed stays.
    """
    from studies import run as running
    from studies.workspace_files import refuse_links

    refuse_links(workspace, spec.study)
    mirror = None
    if mlflow:
        from studies.tracking.tracker import Tracker

        mirror = Tracker(workspace, spec.study, detail=spec.tracking)

    def watch(work: Any) -> None:
        if display is not None:
            display(work)
        if mirror is not None:
            mirror.watch(work)

    summary = running.run(
        spec,
        workspace=workspace,
        tasks_from=tasks_from,
        engine=engine,
        workers=workers,
        device=device,
        gpu_fraction=gpu_fraction,
        watch=watch,
        tracking=mirror,
        cluster=place,
        say=say,
    )
    return TrainedStudy(study=spec.study, summary=summary, mirror=mirror)


def write_study_pages(workspace: Path, trained: TrainedStudy) -> StudyPages | None:
    """Writes the pages of a study that has a plan; None while its pilot is not complete."""
    if not trained.summary.plan_hash:
        return None
    record = record_of(workspace, trained.study)
    page, defaults = write_pages(workspace, record)
    if trained.mirror is not None:
        trained.mirror.log_report(page.parent)
    return StudyPages(record=record, page=page, defaults=defaults)


def rebuild_pages(workspace: Path, study: str) -> StudyPages:
    """A study's pages from the ledger alone; MLflow's copy is mended where there is one.

    Raises:
        ValueError: no such study, or one without a plan.
    """
    from studies.tracking.tracker import has_store, log_report, restore
    from studies.workspace_files import refuse_links

    refuse_links(workspace, study)
    record = record_of(workspace, study)
    page, defaults = write_pages(workspace, record)
    if has_store(workspace, study) and restore(workspace, record):
        log_report(workspace, study, page.parent)
    return StudyPages(record=record, page=page, defaults=defaults)


UNANSWERABLE = "no row has a task that can be judged, so that nothing was compared"


def is_unanswerable(workspace: Path, study: str) -> bool:
    """Whether a complete study has no task to judge on: its file asks what cannot be answered."""
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        plans = ledger.plans(study)
    judged = plans[-1].plan.get("tasks") if plans else None  # a search study judges nothing
    if not judged:
        return False
    return not any(tasks for regimes in judged.values() for tasks in regimes.values())


@dataclass(frozen=True, kw_only=True)
class Extension:
    """The study that goes on where another ended."""

    spec: ResolvedStudy
    parent: str
    file: Path
    """Its study file, in the workspace."""
    exploratory: tuple[str, ...]
    """Why it gives no verdict; () where it is evidence."""


def extension_of(
    workspace: Path,
    study: str,
    *,
    families: int | None = None,
    blocks: int | None = None,
    tasks: Sequence[str] = (),
    name: str | None = None,
) -> Extension:
    """Writes the study file of an extension; arguments as of `studies.comparison.extension.child_spec`.

    Raises:
        ValueError: no such study, one that cannot be extended, or nothing that would be added.
    """
    from studies.comparison.extension import child_spec, registered, study_file
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        child = child_spec(ledger, study, families=families, blocks=blocks, tasks=tasks, name=name)
        reasons = tuple(registered(ledger, child))
    return Extension(spec=child, parent=study, file=study_file(child, workspace), exploratory=reasons)
