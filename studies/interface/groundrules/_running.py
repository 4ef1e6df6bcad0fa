"""Planning and running studies."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from groundrules._inputs import StudyLike, TaskLike, as_workspace, at_budget, with_tasks
from groundrules._results import Results

if TYPE_CHECKING:
    from studies.execution.local_cluster import WorkerPool
    from studies.kinds import AnySpec
    from studies.operations.planning import SearchPlan, StudyPlan
    from studies.operations.range_scan import RangeScan
    from studies.operations.replay import Replay
    from studies.run import Engine, Watch
    from studies.spec.sections import Profile
    from trainers.tasks.user_tasks import TaskSource

Tasks = TaskLike | Iterable[TaskLike]


def plan(
    study: StudyLike,
    *,
    tasks: Tasks | None = None,
    tasks_from: Tasks | None = None,
    workspace: str | Path | None = None,
    profile: Profile | None = None,
    hours: float | None = None,
) -> StudyPlan | SearchPlan:
    """Checks a study and estimates what it would cost. Trains nothing of it.

    Args:
        study: the name of a study that ships, the path of a study file, a dict, or a parsed study.
        tasks: the study's tasks, in place of its own list; see `run`.
        tasks_from: tasks that its list names and that do not ship; see `run`.
        workspace: see `run`; how much disk is free there is part of the answer.
        profile: quick, standard or full: another budget than the study's own.
        hours: wall-clock hours that the largest profile has to fit into; excludes `profile`.

    Returns:
        The study at its profile with cells, members, packs and seconds; `lines()` for a reader, `to_dict()`
        for a program.

    Raises:
        ValueError: the study cannot be run as it stands; the message names file, key, rule and allowed
            values.

    Examples:
        >>> gr.plan(TINY).outline.total > 50
        True
    """
    from studies.operations.planning import plan_study

    spec, source = with_tasks(study, tasks, tasks_from)
    return plan_study(
        spec, workspace=as_workspace(workspace), tasks_from=source, profile=profile, hours=hours
    )


def run(
    study: StudyLike,
    *,
    tasks: Tasks | None = None,
    tasks_from: Tasks | None = None,
    workspace: str | Path | None = None,
    profile: Profile | None = None,
    hours: float | None = None,
    engine: Engine = "ray",
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    cluster: Literal["auto"] | None = None,
    mlflow: bool = True,
    progress: bool = False,
) -> Results:
    """Runs a study, or resumes it: nothing that the workspace holds is trained again.

    Args:
        study: the name of a study that ships, the path of a study file, a dict, or a parsed study.
        tasks: the study's tasks, in place of its own list: names of tasks that ship, `Task` objects,
            functions that return one, or Python files with a list TASKS.
        tasks_from: tasks that the study's own list names and that do not ship, in the same forms; a text is
            the path of a file.
        workspace: the folder of ledger, pages and MLflow store, made where missing; None: that of
            GROUNDRULES_WORKSPACE, else `./groundrules-workspace`.
        profile: quick, standard or full: another budget than the study's own.
        hours: wall-clock hours that the largest profile has to fit into; excludes `profile`.
        engine: 'ray' (worker processes, which are sent tasks that are objects) or 'inline' (this process).
        workers: packs trained at the same time by 'ray'; None: one per CPU.
        device: torch device of the training.
        gpu_fraction: share of a GPU for each worker, 0 to 1.
        cluster: 'auto': the running Ray cluster that this machine belongs to.
        mlflow: whether every run is also written to the workspace's MLflow store.
        progress: whether to show progress on standard error.

    Returns:
        What the study has found. Packs that could not be trained are named in `notes`; `complete` is False
        then.

    Raises:
        ValueError: the study or a task is wrong, the workspace cannot be written or holds another study of
            that name, or `engine`, `workers` and `device` do not go together.
        KeyboardInterrupt: after an interrupt; everything that was committed is kept.

    Examples:
        >>> results = gr.run(TINY)
        >>> results.complete
        True
        >>> gr.run(TINY).summary.trained  # the same call again: nothing is left to train
        0
    """
    spec, source = with_tasks(study, tasks, tasks_from)
    folder = as_workspace(workspace)
    chosen = profile
    if hours is not None:
        from studies.operations.planning import one_budget, profile_within

        one_budget(profile, hours)
        chosen, _ = profile_within(
            spec, hours, workspace=folder, tasks_from=source, workers=workers, device=device
        )
    return _run(
        at_budget(spec, chosen),
        source,
        folder,
        engine=engine,
        workers=workers,
        device=device,
        gpu_fraction=gpu_fraction,
        cluster=cluster,
        mlflow=mlflow,
        progress=progress,
    )


def extend(
    study: str,
    *,
    families: int | None = None,
    blocks: int | None = None,
    tasks: Iterable[str] = (),
    name: str | None = None,
    tasks_from: Tasks | None = None,
    workspace: str | Path | None = None,
    engine: Engine = "ray",
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    mlflow: bool = True,
    progress: bool = False,
) -> Results:
    """Goes on with a complete study in one of its own, which takes over everything that was trained.

    Args:
        study: the complete study's name.
        families: task families of the whole; a look that was registered for so many keeps it evidence.
        blocks: of each task; makes it exploratory.
        tasks: names of tasks to add; makes it exploratory.
        name: of the extension; None: the study's with what grows.
        tasks_from: where tasks come from that do not ship; see `run`.
        workspace: of both; see `run`.
        engine: see `run`.
        workers: see `run`.
        device: see `run`.
        gpu_fraction: see `run`.
        mlflow: see `run`.
        progress: see `run`.

    Raises:
        ValueError: the study is unknown or not complete, or nothing would be added.
        KeyboardInterrupt: after an interrupt; everything that was committed is kept.

    Examples:
        >>> gr.extend("tiny", blocks=3).study
        'tiny.blocks-3'
    """
    from groundrules._inputs import task_source
    from studies.operations.running import extension_of

    folder = as_workspace(workspace)
    extension = extension_of(folder, study, families=families, blocks=blocks, tasks=list(tasks), name=name)
    return _run(
        extension.spec,
        task_source(tasks_from),
        folder,
        engine=engine,
        workers=workers,
        device=device,
        gpu_fraction=gpu_fraction,
        cluster=None,
        mlflow=mlflow,
        progress=progress,
    )


def scan_ranges(
    study: StudyLike,
    *,
    tasks: Iterable[str] | None = None,
    tasks_from: Tasks | None = None,
    points: int = 32,
    workspace: str | Path | None = None,
    engine: Engine = "ray",
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    progress: bool = False,
) -> RangeScan:
    """Scans a study's ranges before it is run, on tasks that are never judged; the same call again resumes.

    Args:
        study: whose ranges are in question; see `run`.
        tasks: names of development tasks, or of your own; None: three that ship.
        tasks_from: where tasks come from that do not ship; see `run`.
        points: of the design, for every level on every task.
        workspace: see `run`.
        engine: see `run`.
        workers: see `run`.
        device: see `run`.
        gpu_fraction: see `run`.
        progress: see `run`.

    Returns:
        Where the best points lie in each range and which ranges to widen (`result`), and the page.

    Raises:
        ValueError: a search study, too few points, or a task that is kept for evidence.

    Examples:
        >>> scan = gr.scan_ranges(TINY, points=10, engine="inline")
        >>> scan.result.complete
        True
    """
    from studies.operations.range_scan import scan_ranges

    spec, source = with_tasks(study, None, tasks_from)
    with ExitStack() as exits:
        return scan_ranges(
            spec,
            workspace=as_workspace(workspace),
            tasks_from=source,
            tasks=None if tasks is None else list(tasks),
            points=points,
            engine=engine,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            display=_display(exits, progress),
        )


def replay(
    evaluation: str,
    *,
    workspace: str | Path | None = None,
    tasks_from: Tasks | None = None,
    device: str = "cpu",
) -> Replay:
    """Trains one evaluation again, alone, and compares it with the ledger.

    Args:
        evaluation: its id, or the first digits of it (at least 4).
        workspace: see `run`.
        tasks_from: where its task comes from, if it does not ship; see `run`.
        device: torch device of the training.

    Returns:
        Both evaluations; `same` says whether every metric agrees within the tolerance.

    Raises:
        ValueError: no such evaluation, or its task has other data now.

    Examples:
        >>> first = gr.evaluations("tiny")["id"].iloc[0]
        >>> gr.replay(first).same
        True
    """
    from groundrules._inputs import task_source
    from studies.operations.replay import replay

    return replay(as_workspace(workspace), evaluation, tasks_from=task_source(tasks_from), device=device)


def _run(
    spec: AnySpec,
    source: TaskSource | None,
    workspace: Path,
    *,
    engine: Engine,
    cluster: Literal["auto"] | None,
    progress: bool,
    **options: Any,
) -> Results:
    """Trains, writes the pages, and returns what was found."""
    from studies.operations.running import train, write_study_pages

    if cluster is not None and engine != "ray":
        raise ValueError("--cluster goes with --engine ray")
    with ExitStack() as exits:
        place: WorkerPool | None = None
        if cluster is not None:
            from studies.execution.existing_cluster import ExistingCluster

            place = exits.enter_context(ExistingCluster(options["workers"], options["gpu_fraction"]))
        trained = train(
            spec,
            workspace=workspace,
            tasks_from=source,
            engine=engine,
            place=place,
            display=_display(exits, progress),
            **options,
        )
    if trained.mirror is not None and trained.mirror.problem:
        warnings.warn(
            f"MLflow lacks a part: {trained.mirror.problem}; the same call again adds it", stacklevel=3
        )
    write_study_pages(workspace, trained)
    return Results(study=spec.study, workspace=workspace, summary=trained.summary)


def _display(exits: ExitStack, progress: bool) -> Watch | None:
    from studies.execution.progress import Display

    return exits.enter_context(Display()) if progress else None
