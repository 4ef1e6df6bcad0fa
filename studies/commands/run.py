"""The commands that lay out and run a study here: plan, run, extend."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studies.commands.options import (
    DEFAULT_WORKSPACE,
    Device,
    Engine,
    EngineOption,
    GpuFraction,
    HereOption,
    Hours,
    Json,
    LocalEngine,
    ProfileOption,
    Spec,
    Study,
    TasksFrom,
    Workers,
    Workspace,
)
from studies.commands.path_arguments import as_typed

if TYPE_CHECKING:
    from studies.execution.existing_cluster import ExistingCluster
    from studies.execution.local_cluster import Cluster
    from studies.kinds import AnySpec
    from studies.operations.running import TrainedStudy
    from studies.spec.sections import Profile as ProfileName


def plan(
    spec: Spec,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    profile: ProfileOption = None,
    hours: Hours = None,
    as_json: Json = False,
) -> None:
    """Check a study and estimate its cost; trains nothing."""
    from studies.load_study import load
    from studies.operations.planning import one_budget, plan_study

    one_budget(profile, hours)
    planned = plan_study(
        load(spec),
        workspace=workspace,
        tasks_from=tasks_from,
        profile=profile.value if profile else None,
        hours=hours,
    )
    print(json.dumps(planned.to_dict(), indent=2) if as_json else "\n".join(planned.lines()))


def run(
    spec: Spec,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    profile: ProfileOption = None,
    hours: Hours = None,
    engine: EngineOption = Engine.ray,
    workers: Workers = None,
    device: Device = "cpu",
    gpu_fraction: GpuFraction = 0.0,
    cluster: HereOption = None,
    as_json: Json = False,
) -> None:
    """Run or resume a study on this machine.

    Trainings that the ledger already holds are not repeated.
    """
    from studies.execution.interrupts import interrupted_by_sigterm
    from studies.execution.prestart import is_new

    if profile is not None and hours is not None:
        from studies.operations.planning import one_budget

        one_budget(profile, hours)
    if cluster and engine is not Engine.ray:
        raise ValueError("--cluster goes with --engine ray")
    with interrupted_by_sigterm(also_sigint=cluster is not None), ExitStack() as exits:
        # Before anything else is running: the machine's speed is measured.
        fits = None if hours is None else _fitting(spec, hours, workspace, tasks_from, workers, device)
        place: Cluster | ExistingCluster | None = None
        if cluster is LocalEngine.auto:
            from studies.execution.existing_cluster import ExistingCluster

            place = exits.enter_context(ExistingCluster(workers, gpu_fraction))
        elif engine is Engine.ray and is_new(spec, workspace):
            from studies.execution.local_cluster import Cluster

            place = exits.enter_context(Cluster(workers, gpu_fraction)).start()
        from studies.load_study import load
        from studies.operations.planning import no_profile
        from studies.search.spec import SearchSpec
        from studies.spec.load import with_profile

        study = load(spec)
        if isinstance(study, SearchSpec):
            no_profile(study, profile, hours)
        elif chosen := fits or (profile.value if profile else None):
            study = with_profile(study, chosen)
        complete = _run_here(
            study,
            workspace=workspace,
            tasks_from=tasks_from,
            engine=engine,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            place=place,
            job=cluster is not None,
            as_json=as_json,
        )
    if not complete:
        raise typer.Exit(1)
    _answered(workspace, study.study)


def extend(
    study: Study,
    families: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Task families in all; evidence at a registered look.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Blocks per task; makes it exploratory.")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", metavar="NAME,...", help="Further tasks; makes it exploratory.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="CHILD", help="Its name; default: STUDY and what grows.")
    ] = None,
    only_file: Annotated[
        bool, typer.Option("--only-file", help="Only write the study file, for run or submit.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    engine: EngineOption = Engine.ray,
    workers: Workers = None,
    device: Device = "cpu",
    gpu_fraction: GpuFraction = 0.0,
    as_json: Json = False,
) -> None:
    """Continue a complete study with more families, blocks or tasks.

    The extension is a study of its own, which takes over everything trained so far.
    """
    from studies.execution.interrupts import interrupted_by_sigterm
    from studies.operations.running import extension_of

    more = [task.strip() for task in (tasks or "").split(",") if task.strip()]
    extension = extension_of(workspace, study, families=families, blocks=blocks, tasks=more, name=name)
    child, reason = extension.spec, "; ".join(extension.exploratory)
    answer = {
        "extends": study,
        "evidence": not reason,
        "reason": reason,
        "study_file": str(extension.file),
    }
    if not as_json:
        print(f"{child.study} extends {study}: {f'EXPLORATORY, {reason}' if reason else 'evidence'}")
        print(f"study     {extension.file}")
    if only_file:
        if as_json:
            print(json.dumps({"study": child.study, **answer}, indent=2))
        return
    with interrupted_by_sigterm():
        complete = _run_here(
            child,
            workspace=workspace,
            tasks_from=tasks_from,
            engine=engine,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            place=None,
            as_json=as_json,
            more=answer,
        )
    if not complete:
        raise typer.Exit(1)
    _answered(workspace, child.study)


def _run_here(
    study: AnySpec,
    *,
    workspace: Path,
    tasks_from: Path | None,
    engine: Engine,
    workers: int | None,
    device: str,
    gpu_fraction: float,
    place: Cluster | ExistingCluster | None,
    as_json: bool,
    job: bool = False,
    more: Mapping[str, Any] | None = None,
) -> bool:
    """Trains what is missing, writes the pages and says what came out; False where packs were given up.

    `job`: nobody watches, so that progress is told less often. `more` is what the answer for a program says
    besides.
    """
    from studies.execution.progress import JOB_LINE_SECONDS, LINE_SECONDS, Display
    from studies.operations.running import train

    with Display(seconds=JOB_LINE_SECONDS if job else LINE_SECONDS) as display:
        trained = train(
            study,
            workspace=workspace,
            tasks_from=tasks_from,
            engine=engine.value,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            place=place,
            display=display,
            say=None if as_json else print,
        )
    if place is not None:
        place.end()  # Ray takes its time; the pages are written meanwhile
    if trained.mirror is not None and trained.mirror.problem:
        print(
            f"warning: MLflow lacks a part: {trained.mirror.problem}; the same command again adds it",
            file=sys.stderr,
        )
    _conclude(workspace, trained, as_json=as_json, more=more or {})
    return trained.summary.complete


def _conclude(workspace: Path, trained: TrainedStudy, *, as_json: bool, more: Mapping[str, Any]) -> None:
    """What a run says at its end: the table, and where everything is."""
    from studies.cluster.status_text import given_up_text, status_text
    from studies.execution import failure_kinds
    from studies.execution.progress import duration
    from studies.operations.running import write_study_pages

    say = (lambda *_: None) if as_json else print
    study, summary = trained.study, trained.summary
    for note in summary.notes:
        say(f"note: {note}")
    pruned = f", {summary.pruned} pruned" if summary.pruned else ""
    done = f"trained {summary.trained}" if summary.trained else "nothing to train"
    say(
        f"{done}; {summary.finished} of {summary.planned} members in the ledger, "
        f"{summary.diverged} diverged{pruned} ({duration(summary.seconds)})"
    )
    if summary.attempts:
        say(failure_kinds.sentence(summary.attempts))
    if summary.set_aside:
        say(f"set aside: {summary.set_aside} members could not be trained; the page shows which, and why")
    answer: dict[str, Any] = {
        "study": study,
        "complete": summary.complete,
        "trained": summary.trained,
        "finished": summary.finished,
        "planned": summary.planned,
        "diverged": summary.diverged,
        "pruned": summary.pruned,
        "set_aside": summary.set_aside,
        "failed_attempts": dict(summary.attempts),
        "given_up": [pack.id for pack in summary.failed],
        "causes": [one.sentence for one in summary.given_up],
        "plan_hash": summary.plan_hash,
        "workspace": str(workspace.absolute()),
        **more,
    }
    for line in given_up_text(summary, as_typed("logs", study, workspace=workspace)):
        print(line, file=sys.stderr)
    if pages := write_study_pages(workspace, trained):
        lines, answers = status_text(pages.record)
        for line in lines:
            say(line)
        say(f"report    {pages.page}")
        if pages.defaults:
            say(f"defaults  {pages.defaults}")
        answer |= {
            "report": str(pages.page),
            "defaults": str(pages.defaults) if pages.defaults else None,
            **answers,
        }
    say(f"runs      {as_typed('ui', workspace=workspace)}")
    if as_json:
        print(json.dumps(answer, indent=2))


def _answered(workspace: Path, study: str) -> None:
    """Exit code 2 where a complete study has no task to judge on: its file asks what cannot be answered."""
    from studies.operations.running import UNANSWERABLE, is_unanswerable

    if is_unanswerable(workspace, study):
        print(f"error: {study}: {UNANSWERABLE}; the notes above say why", file=sys.stderr)
        raise typer.Exit(2)


def _fitting(
    spec: str, hours: float, workspace: Path, tasks_from: Path | None, workers: int | None, device: str
) -> ProfileName | None:
    """The profile for `run --hours`: the one a study was started with, else the largest that fits."""
    from studies.load_study import load
    from studies.operations.planning import profile_within

    chosen, now = profile_within(
        load(spec), hours, workspace=workspace, tasks_from=tasks_from, workers=workers, device=device
    )
    if now:
        print(f"profile {chosen}: the largest that fits {hours:g} hours", file=sys.stderr)
    return chosen
