"""A look at a study's ranges before it is run, on tasks that are never judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.kinds import AnySpec
from studies.search.spec import SearchSpec

if TYPE_CHECKING:
    from reports.evidence.range_scan_record import RangeScanRecord
    from studies.run import Engine, RunSummary, Watch
    from trainers.tasks.user_tasks import TaskSource


@dataclass(frozen=True, kw_only=True)
class RangeScan:
    """Where the best points lie in each range, and which ranges to widen."""

    study: str
    """The name of the scan in the ledger."""
    summary: RunSummary
    result: RangeScanRecord
    page: Path

    def lines(self) -> list[str]:
        """For a reader."""
        from studies.range_scan.summary import lines

        return lines(self.result)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        from studies.range_scan.summary import plain

        return {**plain(self.result), "trained": self.summary.trained, "page": str(self.page)}


def scan_ranges(
    spec: AnySpec,
    *,
    workspace: Path,
    tasks_from: TaskSource | None = None,
    tasks: Sequence[str] | None = None,
    points: int = 32,
    engine: Engine = "ray",
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    display: Watch | None = None,
) -> RangeScan:
    """Scans the ranges of a guideline study; the same call again resumes.

    Args:
        spec: the study whose ranges are in question.
        workspace: folder of the ledger; made where missing.
        tasks_from: the user's own tasks.
        tasks: to scan on; None: three development tasks of families that the study does not declare.
        points: of the design, for every level on every task.
        engine: 'ray' or 'inline'.
        workers: packs trained at the same time with Ray; None: one per CPU.
        device: torch device of the training.
        gpu_fraction: share of a GPU for each worker, 0 to 1.
        display: shows progress; None: nothing is shown.

    Raises:
        ValueError: a search study, too few points, or a task that is kept for evidence.
    """
    from reports.io.safe_paths import own_folder
    from reports.pages.range_scan_page import write_scope_page
    from studies.ledger.ledger import Ledger
    from studies.range_scan.protocol import scope_of
    from studies.range_scan.results import range_scan_record
    from studies.run import run
    from studies.workspace_files import REPORTS, refuse_links
    from trainers.tasks.user_tasks import task_book

    if isinstance(spec, SearchSpec):
        raise ValueError(f"{spec.file}: a search study compares no levels; widen its `space` by its own page")
    wide = scope_of(spec, task_book(tasks_from), tasks=tasks, points=points)
    refuse_links(workspace, wide.study)
    summary = run(
        wide,
        workspace=workspace,
        tasks_from=tasks_from,
        engine=engine,
        workers=workers,
        device=device,
        gpu_fraction=gpu_fraction,
        watch=display,
    )
    with Ledger.open(workspace) as ledger:
        result = range_scan_record(ledger, wide.study)
    page = write_scope_page(result, own_folder(workspace.absolute(), REPORTS, result.name))
    return RangeScan(study=wide.study, summary=summary, result=result, page=page)
