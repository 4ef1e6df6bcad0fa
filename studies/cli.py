"""The command line: each command is a few documented function calls, and errors are one line.

Exit codes: 0 done; 2 the user's mistake; 1 ours; 130 interrupted, to be resumed by the same command.
Heavy libraries are imported inside the commands, so that help and errors answer at once.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reports.characters import harmless
from reports.files import appending
from studies import commands, service_commands, steering_commands
from studies.databases import LedgerDamaged, LedgerLost
from studies.failures import ClusterLost
from studies.options import (
    DEFAULT_WORKSPACE,
    Device,
    Engine,
    EngineOption,
    GpuFraction,
    Here,
    HereOption,
    Hours,
    Json,
    Listing,
    Output,
    Profile,
    ProfileOption,
    Spec,
    Study,
    Table,
    TasksFrom,
    Workers,
    Workspace,
)
from studies.pages import record_of, write_pages

if TYPE_CHECKING:
    from search_spaces.factor import Factor
    from studies.attached import Attached
    from studies.cluster import Cluster
    from studies.kinds import AnySpec
    from studies.run import RunSummary
    from studies.searching.spec import SearchSpec
    from studies.spec import Profile as ProfileName
    from studies.tracking import Tracker

log = logging.getLogger("groundrules")

app = typer.Typer(
    name="groundrules",
    help="Regenerates a textbook's table of deep-learning defaults empirically, for your own tasks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
LOG_FILE = "groundrules.log"
LONGEST_MESSAGE = 20_000
"""Characters; the longest of ours list all names that are allowed."""


@app.command()
def plan(
    spec: Spec,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    profile: ProfileOption = None,
    hours: Hours = None,
    as_json: Json = False,
) -> None:
    """Check a study and say what it would cost; nothing is run."""
    from studies import hours as profiles
    from studies.kinds import load
    from studies.planning import lines, plain
    from studies.searching.spec import SearchSpec

    _one_of(profile, hours)
    study = load(spec)
    if isinstance(study, SearchSpec):
        _plan_search(study, tasks_from, profile, hours, as_json=as_json)
        return
    outlines = profiles.outlines(study, tasks_from=tasks_from)
    cores = len(os.sched_getaffinity(0))
    if hours is not None:
        study = study.with_profile(profiles.fitting(outlines, hours, at_once=cores, file=study.file))
    elif profile:
        study = study.with_profile(profile.value)
    print(
        json.dumps(plain(study, outlines), indent=2) if as_json else "\n".join(lines(study, outlines, cores))
    )


@app.command()
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
    """Run a study here; the same command again resumes, and repeats nothing."""
    from studies.early import is_new
    from studies.interrupts import interrupted_by_sigterm

    _one_of(profile, hours)
    if cluster and engine is not Engine.ray:
        raise ValueError("--cluster goes with --engine ray")
    with interrupted_by_sigterm(also_sigint=cluster is not None), ExitStack() as exits:
        # Before anything else is running: the machine's speed is measured.
        fits = None if hours is None else _fitting(spec, hours, workspace, tasks_from, workers, device)
        place: Cluster | Attached | None = None
        if cluster is Here.auto:
            from studies.attached import Attached

            place = exits.enter_context(Attached(workers, gpu_fraction))
        elif engine is Engine.ray and is_new(spec, workspace):
            from studies.cluster import Cluster

            place = exits.enter_context(Cluster(workers, gpu_fraction)).start()
        from studies.kinds import load
        from studies.searching.spec import SearchSpec

        study = load(spec)
        if isinstance(study, SearchSpec):
            _no_profile(study, profile, hours)
        elif chosen := fits or (profile.value if profile else None):
            study = study.with_profile(chosen)
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


@app.command()
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
    """Go on with a complete study, in a study of its own that takes over all it has trained."""
    from studies.extending import child_spec, registered, study_file
    from studies.interrupts import interrupted_by_sigterm
    from studies.ledger import Ledger

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


@app.command()
def report(study: Study, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """Rebuild a study's pages from the ledger alone."""
    from studies.tracking import has_store, log_report

    page, defaults = write_pages(workspace, record_of(workspace, study))
    if has_store(workspace):
        log_report(workspace, study, page.parent)
    if as_json:
        print(json.dumps({"report": str(page), "defaults": str(defaults) if defaults else None}))
    else:
        print(f"report    {page}")
        print(f"defaults  {defaults or 'none yet: the study carries no verdicts'}")


@app.command()
def results(
    study: Study,
    table: Annotated[Table, typer.Option("--format", help="Parquet needs --output.")] = Table.csv,
    output: Output = None,
    timings: Annotated[bool, typer.Option("--timings", help="Also when and how long each trained.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write every evaluation of a study, one row each."""
    from studies.ledger import Ledger
    from studies.results import rows, write

    with Ledger.open(workspace) as ledger:
        found = rows(ledger, study, timings=timings)
    sys.stdout.write(write(found, table.value, output))


@app.command()
def ui(
    workspace: Workspace = DEFAULT_WORKSPACE,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 or none: a free one.")] = None,
) -> None:
    """Show the workspace's MLflow pages on this machine, until Ctrl-C."""
    from studies.ui import pages_elsewhere, serve

    elsewhere = pages_elsewhere(workspace)
    for line in elsewhere:
        print(line)
    if not elsewhere and serve(
        workspace, port or None, say=lambda address: print(f"MLflow: {address} (Ctrl-C ends it)", flush=True)
    ):
        raise typer.Exit(1)


@app.command()
def catalog(
    factor: Annotated[str | None, typer.Argument(help="One factor; default: all.")] = None,
    kind: Annotated[Listing, typer.Option("--format", help="How to list them.")] = Listing.plain,
    as_json: Json = False,
) -> None:
    """List what can vary: factors, levels, ranges, sources."""
    from search_spaces.catalog import FACTORS
    from search_spaces.factor import unknown
    from search_spaces.listing import catalogue, markdown, meaning, span_text

    if factor is not None and factor not in FACTORS:
        raise unknown("factor", factor, FACTORS)
    chosen = [FACTORS[factor]] if factor else list(FACTORS.values())
    if as_json:
        print(json.dumps({f.name: _factor_plain(f) for f in chosen}, indent=2))
        return
    if kind is Listing.markdown:
        print(markdown(chosen) if factor else catalogue(chosen), end="")
        return
    for f in chosen:
        print(f"{f.name}: {f.meaning}")
        shallow, deep = " or ".join(f.textbook_shallow), " or ".join(f.textbook_deep)
        book = f"{shallow} if shallow, {deep} if deep" if shallow or deep else "no row"
        print(f"  textbook: {book}; framework default: {f.framework_default}")
        for level in f.levels:
            print(f"  {level.name:18} {level.source.document}: {level.source.claim}")
            if factor:
                print(f"  {'':18} {meaning(level)}")
            if factor and level.note:
                print(f"  {'':18} {level.note}")
            for span in level.ranges if factor else ():
                print(f"  {'':18} {span_text(span)}")


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Image sets, such as mnist.")],
) -> None:
    """Fetch published image sets into the data folder (GROUNDRULES_DATA; default: your cache)."""
    from trainers.tasks.images import download as fetch
    from trainers.tasks.images import image_set

    for row in [image_set(name) for name in names]:  # all names are right before the first byte comes
        print(f"{row.name} is in {fetch(row.name)}")


app.command(name="scope")(commands.scope)
app.command(name="export")(commands.export)
app.command(name="diff")(commands.diff)
app.command(name="why")(commands.why)
app.command(name="claims")(commands.claims)
app.command(name="replay")(commands.replay)
app.command(name="check")(commands.check)
app.command(name="init")(commands.init)
app.command(name="simulate")(commands.simulate)
app.command(name="submit")(service_commands.submit)
app.command(name="list")(steering_commands.listing)
app.command(name="status")(steering_commands.status)
app.command(name="logs")(steering_commands.logs)
app.command(name="stop")(steering_commands.stop)
app.command(name="resume")(service_commands.resume)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program: runs one command and exits; to take apart all that is loaded would take seconds."""
    code = invoke(arguments)
    with suppress(OSError):  # nobody reads any more
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; never raises."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _warn_on_stderr()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of other libraries are not the user's business
    try:
        code = app(args=words or ["--help"], prog_name="groundrules", standalone_mode=False)
        if code == INTERRUPTED:  # some versions of Typer turn Ctrl-C into this
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except typer.Exit as exit_:
        return exit_.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; what was finished is kept: resume with the same command", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again at exit
        return 1
    except (ValueError, LedgerDamaged) as error:
        print(f"error: {_told_safely(error)}", file=sys.stderr)
        return 2
    except LedgerLost as error:
        print(f"error: {_told_safely(error)}", file=sys.stderr)
        return 1
    except ClusterLost as error:
        print(
            f"error: {_told_safely(error)}; what was finished is kept: resume with the same command",
            file=sys.stderr,
        )
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort of every command
        if hasattr(error, "format_message"):  # Typer's, of whichever click it carries
            print(f"error: {_told_safely(' '.join(error.format_message().split()))}", file=sys.stderr)
            return 2
        place = _keep_traceback(words)
        what = f"{type(error).__name__}: {_told_safely(error)}"
        print(f"internal error: {what}\nthe details are in {place}", file=sys.stderr)
        return 1


def _run_here(
    study: AnySpec,
    *,
    workspace: Path,
    tasks_from: Path | None,
    engine: Engine,
    workers: int | None,
    device: str,
    gpu_fraction: float,
    place: Cluster | Attached | None,
    as_json: bool,
    job: bool = False,
    more: Mapping[str, Any] | None = None,
) -> bool:
    """Trains what is missing, writes the pages and says what came out; False where packs were given up.

    `job`: nobody watches, so that progress is told less often. `more` is what the answer for a program says
    besides.
    """
    from studies import run as running
    from studies.progress import JOB_LINE_SECONDS, LINE_SECONDS, Display
    from studies.tracking import Tracker

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
    from studies import failures
    from studies.progress import duration
    from studies.told import told

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
        say(failures.sentence(summary.attempts))
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
        "plan_hash": summary.plan_hash,
        "workspace": str(workspace.absolute()),
        **more,
    }
    for pack in summary.failed:
        print(
            f"error: pack {pack.id} ({pack.task}, {pack.regime}, {pack.phase}) was given up; the next run "
            "tries it again",
            file=sys.stderr,
        )
    if summary.plan_hash:
        record = record_of(workspace, study)
        page, defaults = write_pages(workspace, record)
        tracker.log_report(page.parent)
        lines, found = told(record)
        for line in lines:
            say(line)
        say(f"report    {page}")
        if defaults:
            say(f"defaults  {defaults}")
        answer |= {"report": str(page), "defaults": str(defaults) if defaults else None, **found}
    place = "" if workspace == DEFAULT_WORKSPACE else f" --workspace {workspace}"
    say(f"runs      groundrules ui{place}")
    if as_json:
        print(json.dumps(answer, indent=2))


def _one_of(profile: Profile | None, hours: float | None) -> None:
    if profile is not None and hours is not None:
        raise ValueError("--profile and --hours: give one of them; hours choose a profile")


def _fitting(
    spec: str, hours: float, workspace: Path, tasks_from: Path | None, workers: int | None, device: str
) -> ProfileName | None:
    """The profile for `run --hours`: the one a study was started with, else the largest that fits."""
    from studies import hours as profiles
    from studies.kinds import load
    from studies.searching.spec import SearchSpec

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
    study: SearchSpec, tasks_from: Path | None, profile: Profile | None, hours: float | None, *, as_json: bool
) -> None:
    """`plan` of a search study."""
    from dataclasses import asdict

    from studies.searching.estimate import search_outline
    from studies.searching.telling import planned

    _no_profile(study, profile, hours)
    found = search_outline(study, tasks_from=tasks_from)
    print(json.dumps(asdict(found), indent=2) if as_json else "\n".join(planned(found, study.title)))


def _no_profile(study: SearchSpec, profile: Profile | None, hours: float | None) -> None:
    if profile is not None or hours is not None:
        rule = f"a search study has no profile; its budget is trials = {study.trials}"
        raise ValueError(f"{study.file}: {rule}")


def _factor_plain(factor: Factor[Any]) -> dict[str, Any]:
    return {
        "meaning": factor.meaning,
        "framework_default": factor.framework_default,
        "textbook": {"shallow": factor.textbook_shallow, "deep": factor.textbook_deep},
        "levels": {
            level.name: {
                "source": vars(level.source),
                "cost_rank": level.cost_rank,
                "enters": level.enters,
                "note": level.note,
                "ranges": [vars(span) for span in level.ranges],
            }
            for level in factor.levels
        },
    }


def _warn_on_stderr() -> None:
    """Our own warnings as one line each; other libraries keep their ways."""
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Harmless("%(levelname)s: %(message).500s"))
        log.addHandler(handler)
        log.propagate = False


def _keep_traceback(words: Sequence[str]) -> Path:
    """Appends the current traceback to the workspace's log, or to a temporary file where there is none."""
    place = os.environ.get("GROUNDRULES_WORKSPACE", str(DEFAULT_WORKSPACE))
    for i, word in enumerate(words):
        if word == "--workspace" and i + 1 < len(words):
            place = words[i + 1]
        elif word.startswith("--workspace="):
            place = word.partition("=")[2]
    from studies.site import masked

    said = harmless(masked(f"groundrules {' '.join(words)}\n{traceback.format_exc()}\n"), 100_000)
    file = (Path(place) / LOG_FILE).absolute()
    with suppress(OSError), appending(file) as text:
        text.write(said)
        text.flush()
        return file
    # A name that nobody can have put there before: temporary folders are everybody's.
    with suppress(OSError):
        descriptor, name = tempfile.mkstemp(prefix="groundrules-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as text:
            text.write(said)
        return Path(name)
    return Path(os.devnull)  # every disk is full


class _Harmless(logging.Formatter):
    """Log lines for a terminal: without secrets, and without characters that act on it."""

    def format(self, record: logging.LogRecord) -> str:
        return _told_safely(super().format(record))


def _told_safely(error: object) -> str:
    """What may be said on a terminal."""
    from studies.site import masked

    return harmless(masked(str(error)), LONGEST_MESSAGE)


if __name__ == "__main__":
    main()
