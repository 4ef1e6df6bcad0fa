"""The commands before and after a run: scope; export, diff, why, claims, replay, check; init, simulate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from studies.options import (
    DEFAULT_WORKSPACE,
    Device,
    Engine,
    EngineOption,
    GpuFraction,
    Json,
    Kind,
    Output,
    Spec,
    Study,
    TasksFrom,
    Telling,
    Workers,
    Workspace,
)


def scope(
    spec: Spec,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", metavar="NAME,...", help="Development tasks, or your own; default: 3 that ship."
        ),
    ] = None,
    points: Annotated[int, typer.Option("--points", help="Of every level on every task.")] = 32,
    engine: EngineOption = Engine.ray,
    workers: Workers = None,
    device: Device = "cpu",
    gpu_fraction: GpuFraction = 0.0,
    as_json: Json = False,
) -> None:
    """Look at a study's ranges before it is run, on tasks never judged; the same command again resumes."""
    from reports.files import own_folder
    from reports.scoped_page import write_scope_page
    from studies.interrupts import interrupted_by_sigterm
    from studies.kinds import load
    from studies.ledger import Ledger
    from studies.pages import REPORTS
    from studies.progress import Display, duration
    from studies.run import run
    from studies.scoping.found import scoped
    from studies.scoping.plan import scope_of
    from studies.scoping.telling import lines, plain
    from studies.searching.spec import SearchSpec
    from trainers.user_tasks import task_book

    study = load(spec)
    if isinstance(study, SearchSpec):
        raise ValueError(
            f"{study.file}: a search study compares no levels; widen its `space` by its own page"
        )
    names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    wide = scope_of(study, task_book(tasks_from), tasks=names, points=points)
    with interrupted_by_sigterm(), Display() as display:
        summary = run(
            wide,
            workspace=workspace,
            tasks_from=tasks_from,
            engine=engine.value,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            watch=display,
        )
    with Ledger.open(workspace) as ledger:
        found = scoped(ledger, wide.study)
    page = write_scope_page(found, own_folder(workspace.absolute(), REPORTS, found.name))
    if as_json:
        print(json.dumps({**plain(found), "trained": summary.trained, "page": str(page)}, indent=2))
    else:
        for line in (*(f"note: {note}" for note in summary.notes), *lines(found)):
            print(line)
        print(f"trained {summary.trained} of {summary.planned} members ({duration(summary.seconds)})")
        print(f"page      {page}")
    if not summary.complete:
        print(f"error: {len(summary.failed)} packs were given up", file=sys.stderr)
        raise typer.Exit(1)


def export(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study in the workspace, or `published`: what ships.")
    ],
    kind: Annotated[Kind, typer.Option("--format", help="How to write them.")] = Kind.yaml,
    output: Output = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            "--previous",
            metavar="FILE",
            help="The last release, or `published`: its levels stay if they may.",
        ),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write a study's recommended defaults; of a search study, the best configuration."""
    from reports.defaults import render
    from reports.search_record import SearchRecord
    from studies.pages import defaults_text, emit, record_of
    from studies.searching.telling import exported
    from studies.sources import PUBLISHED, published

    if study == PUBLISHED:
        if previous is not None:
            raise ValueError("--previous goes with a study, not with what is published already")
        emit(render(published(), kind.value), output)
        return
    record = record_of(workspace, study)
    if not isinstance(record, SearchRecord):
        emit(defaults_text(record, kind.value, previous), output)
        return
    if previous is not None:
        raise ValueError(
            f"study '{study}' is a search study: it releases no defaults, so --previous means nothing"
        )
    emit(exported(record, kind.value), output)


def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="A", help="A defaults file, a study, or published, textbook, framework."),
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="Likewise; A and B have the same regimes.")],
    kind: Annotated[Telling, typer.Option("--format", help="How to say it.")] = Telling.text,
    output: Output = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Say what changed from A to B, and which verdict moved it; exit code 1 when anything did."""
    from reports.changes import differences
    from reports.exporting.differences import told
    from studies.pages import emit
    from studies.sources import table_named

    tables = table_named(before, workspace), table_named(after, workspace)
    found = differences(*tables, (before, after))
    emit(told(found, kind.value), output)
    if found.any:
        raise typer.Exit(1)


def why(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[FILE] ROW", help="A row, such as initializer@deep; from a file, or here."),
    ],
    study: Annotated[
        str | None, typer.Option("--study", metavar="STUDY", help="Where several studies have that row.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Json = False,
) -> None:
    """Show the evidence behind one recommended default."""
    from studies.evidence_card import card_from_file, card_from_workspace

    if len(words) > 2:
        raise ValueError(f"why takes a row, or a defaults file and a row, not {len(words)} words")
    if len(words) == 2:
        if study is not None:
            raise ValueError("--study goes with the workspace, not with a defaults file")
        card = card_from_file(words[0], words[1])
    else:
        card = card_from_workspace(workspace, words[0], study)
    print(json.dumps(card.plain(), indent=2) if as_json else "\n".join(card.lines()))


def claims(workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """List what the studies of a workspace say of the claims of texts, each alone and all together."""
    from studies.claims_told import claims_of, lines, plain

    found = claims_of(workspace)
    print(json.dumps(plain(found), indent=2) if as_json else "\n".join(lines(found)))


def replay(
    evaluation: Annotated[
        str,
        typer.Argument(metavar="EVALUATION_ID", help="From `results` or `why`; its first digits will do."),
    ],
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Train one evaluation again, alone, and compare; exit code 1 when it came out differently."""
    from studies.replaying import replay as again

    found = again(workspace, evaluation, tasks_from=tasks_from, device=device)
    print(json.dumps(found.plain(), indent=2) if as_json else "\n".join(found.lines()))
    if not found.same:
        raise typer.Exit(1)


def check(study: Study, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """Verify that the ledger holds what was committed, row by row; exit code 1 where it does not."""
    from studies.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        found = ledger.check(study)
    print(json.dumps(found.plain(), indent=2) if as_json else "\n".join(found.lines()))
    if found.faults:
        raise typer.Exit(1)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Made where missing.")] = Path(),
) -> None:
    """Write a commented study file and a file of tasks to start from; nothing is overwritten."""
    from studies.starting import write_templates

    files = write_templates(folder)
    for file in files:
        print(f"wrote {file}")
    study, tasks = files
    print(f"next  groundrules plan {study} --tasks-from {tasks}")


def simulate(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ROW", help="One row (V3); may be repeated.")
    ] = None,
    studies: Annotated[int, typer.Option(min=1, help="Simulated studies per row.")] = 1000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: Json = False,
) -> None:
    """Measure how often the verdict rule is wrong, on simulated studies whose truth is known."""
    from studies.simulation import table

    found = table.simulate(only or (), studies=studies, workers=workers, watch=_say_part)
    print(json.dumps(table.plain(found), indent=2) if as_json else table.text(found))
    if not all(one.holds for one in found):
        raise typer.Exit(1)


def _say_part(done: int, parts: int, row: str) -> None:
    """Progress on standard error: the table alone is the output."""
    if sys.stderr.isatty():
        print(
            f"\r{done} of {parts} parts ({row})  ",
            end="\n" if done == parts else "",
            file=sys.stderr,
            flush=True,
        )
    elif done == parts or done % 20 == 0:
        print(f"{done} of {parts} parts ({row})", file=sys.stderr, flush=True)
