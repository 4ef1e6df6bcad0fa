"""The commands that lay out and run a study here: plan, run, extend."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
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
    Profile,
    ProfileOption,
    Spec,
    Study,
    TasksFrom,
    Workers,
    Workspace,
)
from studies.commands.pages import write_pages
from studies.commands.path_arguments import as_typed
from studies.commands.records import record_of

if TYPE_CHECKING:
    from studies.execution.existing_cluster import ExistingCluster
    from studies.execution.local_cluster import Cluster
    from studies.load_study import AnySpec
    from studies.run import RunSummary
    from studies.search.spec import SearchSpec
    from studies.spec.sections import Profile as ProfileName
    from studies.tracking.tracker import Tracker


def plan(
    spec: Spec,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    profile: ProfileOption = None,
    hours: Hours = None,
    as_json: Json = False,
) -> None:
    """Check a study and say what it would cost; nothing is run."""
    from studies.commands import budget_fit as profiles
    from studies.commands.plan_text import lines, plain
    from studies.load_study import load
    from studies.resource_estimate import needs_of_plan
    from studies.search.spec import SearchSpec
    from studies.spec.load import with_profile

    _one_of(profile, hours)
    study = load(spec)
    if isinstance(study, SearchSpec):
        _plan_search(study, workspace, tasks_from, profile, hours, as_json=as_json)
        return
    outlines = profiles.outlines(study, tasks_from=tasks_from)
    cores = len(os.sched_getaffinity(0))
    if hours is not None:
        study = with_profile(study, profiles.fitting(outlines, hours, at_once=cores, file=study.file))
    elif profile:
        study = with_profile(study, profile.value)
    needs = needs_of_plan(study, outlines[study.profile].members, workspace, tasks_from, cores)
    answer = {**plain(study, outlines), "resources": needs.plain()}
    text = [*lines(study, outlines, cores), needs.sentence()]
    print(json.dumps(answer, indent=2) if as_json else "\n".join(text))


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
    """Run a study here; the same command resumes.

    Nothing that the ledger holds is trained again.
    """
    from studies.execution.interrupts import interrupted_by_sigterm
    from studies.execution.prestart import is_new

    _one_of(profile, hours)
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
        from studies.search.spec import SearchSpec
        from studies.spec.load import with_profile

        study = load(spec)
        if isinstance(study, SearchSpec):
            _no_profile(study, profile, hours)
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
        int | None, typer.Option(min=1, max=1000, help="Task families of the whole; its looks are evidence.")
    ] = None,
    blocks: Annotated[int | None, typer.Option(min=1, max=1000, help="Of each task: exploratory.")] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", metavar="NAME,...", help="Declared besides: exploratory.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="CHILD", help="Default: STUDY with what grows.")
    ] = None,
    only_file: Annotated[
        bool, typer.Option("--only-file", help="Write the study file and stop; `run` takes it.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    engine: EngineOption = Engine.ray,
    workers: Workers = None,
    device: Device = "cpu",
    gpu_fraction: GpuFraction = 0.0,
    as_json: Json = False,
) -> None:
    """Go on with a complete study, in one of its own.

    It takes over everything that the other has trained.
    """
    from studies.comparison.extension import child_spec, registered, study_file
    from studies.execution.interrupts import interrupted_by_sigterm
    from studies.ledger.ledger import Ledger

    more = [task.strip() for task in (tasks or "").split(",") if task.strip()]
    with Ledger.open(workspace) as ledger:
        child = child_spec(ledger, study, families=families, blocks=blocks, tasks=more, name=name)
        why = registered(ledger, child)
    file = study_file(child, workspace)
    reason = "; ".join(why)
    answer = {"extends": study, "evidence": not why, "reason": reason, "study_file": str(file)}
    if not as_json:
        print(f"{child.study} extends {study}: {f'EXPLORATORY, {reason}' if why else 'evidence'}")
        print(f"study     {file}")
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
    from studies import run as running
    from studies.execution.progress import JOB_LINE_SECONDS, LINE_SECONDS, Display
    from studies.tracking.tracker import Tracker
    from studies.workspace_files import refuse_links

    refuse_links(workspace, study.study)
    tracker = Tracker(workspace, study.study, detail=study.tracking)
    with Display(seconds=JOB_LINE_SECONDS if job else LINE_SECONDS) as display:

        def watch(agenda: Any) -> None:
            display(agenda)
            tracker.watch(agenda)

        summary = running.run(
            study,
            workspace=workspace,
            tasks_from=tasks_from,
            engine=engine.value,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            watch=watch,
            tracking=tracker,
            cluster=place,
            say=None if as_json else partial(print, file=sys.stderr),
        )
    if place is not None:
        place.end()  # Ray takes its time; the pages are written meanwhile
    if tracker.problem:
        print(
            f"warning: MLflow lacks a part: {tracker.problem}; the same command again adds it",
            file=sys.stderr,
        )
    _conclude(workspace, study.study, summary, tracker, as_json=as_json, more=more or {})
    return summary.complete


def _conclude(
    workspace: Path,
    study: str,
    summary: RunSummary,
    tracker: Tracker,
    *,
    as_json: bool,
    more: Mapping[str, Any],
) -> None:
    """What a run says at its end: the table, and where everything is."""
    from studies.cluster.status_text import given_up_text, status_text
    from studies.execution import failure_kinds
    from studies.execution.progress import duration

    say = (lambda *_: None) if as_json else print
    for note in summary.notes:
        say(f"note: {note}")
    pruned = f", {summary.pruned} pruned" if summary.pruned else ""
    trained = f"trained {summary.trained}" if summary.trained else "nothing to train"
    say(
        f"{trained}; {summary.finished} of {summary.planned} members in the ledger, "
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
    if summary.plan_hash:
        record = record_of(workspace, study)
        page, defaults = write_pages(workspace, record)
        tracker.log_report(page.parent)
        lines, found = status_text(record)
        for line in lines:
            say(line)
        say(f"report    {page}")
        if defaults:
            say(f"defaults  {defaults}")
        answer |= {"report": str(page), "defaults": str(defaults) if defaults else None, **found}
    say(f"runs      {as_typed('ui', workspace=workspace)}")
    if as_json:
        print(json.dumps(answer, indent=2))


def _answered(workspace: Path, study: str) -> None:
    """Exit code 2 where a complete study has no task to judge on: its file asks what cannot be answered."""
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        plans = ledger.plans(study)
    judged = plans[-1].plan.get("tasks") if plans else None  # a search study judges nothing
    if judged and not any(tasks for regimes in judged.values() for tasks in regimes.values()):
        rule = "no row has a task that can be judged, so that nothing was compared"
        print(f"error: {study}: {rule}; the notes above say why", file=sys.stderr)
        raise typer.Exit(2)


def _one_of(profile: Profile | None, hours: float | None) -> None:
    if profile is not None and hours is not None:
        raise ValueError("--profile and --hours: give one of them; hours choose a profile")


def _fitting(
    spec: str, hours: float, workspace: Path, tasks_from: Path | None, workers: int | None, device: str
) -> ProfileName | None:
    """The profile for `run --hours`: the one a study was started with, else the largest that fits."""
    from studies.commands import budget_fit as profiles
    from studies.load_study import load
    from studies.search.spec import SearchSpec

    study = load(spec)
    if isinstance(study, SearchSpec):
        _no_profile(study, None, hours)
        return None
    started = profiles.started_profile(workspace, study.study)
    if started:
        return started
    at_once = workers or len(os.sched_getaffinity(0))
    found = profiles.outlines(study, tasks_from=tasks_from, device=device)
    chosen = profiles.fitting(found, hours, at_once=at_once, file=study.file)
    print(f"profile {chosen}: the largest that fits {hours:g} hours", file=sys.stderr)
    return chosen


def _plan_search(
    study: SearchSpec,
    workspace: Path,
    tasks_from: Path | None,
    profile: Profile | None,
    hours: float | None,
    *,
    as_json: bool,
) -> None:
    """`plan` of a search study."""
    from dataclasses import asdict

    from studies.resource_estimate import needs_of_plan
    from studies.search.cost_estimate import search_outline
    from studies.search.summary import planned

    _no_profile(study, profile, hours)
    found = search_outline(study, tasks_from=tasks_from)
    cores = len(os.sched_getaffinity(0))
    needs = needs_of_plan(study, {"search": study.trials}, workspace, tasks_from, cores)
    answer = {**asdict(found), "resources": needs.plain()}
    text = [*planned(found, study.title), needs.sentence()]
    print(json.dumps(answer, indent=2) if as_json else "\n".join(text))


def _no_profile(study: SearchSpec, profile: Profile | None, hours: float | None) -> None:
    if profile is not None or hours is not None:
        rule = f"a search study has no profile; its budget is trials = {study.trials}"
        raise ValueError(f"{study.file}: {rule}")
