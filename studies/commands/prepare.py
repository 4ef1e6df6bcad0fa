"""The commands before a run: catalog, download, init, scope; and simulate, how far to trust what follows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studies.commands import completion
from studies.commands.options import (
    DEFAULT_WORKSPACE,
    CatalogueFormat,
    Device,
    Engine,
    EngineOption,
    GpuFraction,
    Json,
    Spec,
    TasksFrom,
    Workers,
    Workspace,
)
from studies.commands.path_arguments import as_typed, place

if TYPE_CHECKING:
    from search_spaces.factor import Factor


def catalog(
    factor: Annotated[
        str | None,
        typer.Argument(autocompletion=completion.factors, help="A factor; default: all of them."),
    ] = None,
    kind: Annotated[CatalogueFormat, typer.Option("--format", help="Output format.")] = CatalogueFormat.plain,
    as_json: Json = False,
) -> None:
    """List what can vary: factors, levels, ranges, sources."""
    from search_spaces.catalog import FACTORS
    from search_spaces.catalogue_text import catalogue, markdown, meaning, span_text
    from search_spaces.factor import unknown

    if factor is not None and factor not in FACTORS:
        raise unknown("factor", factor, FACTORS)
    chosen = [FACTORS[factor]] if factor else list(FACTORS.values())
    if as_json:
        print(json.dumps({f.name: _factor_plain(f) for f in chosen}, indent=2))
        return
    if kind is CatalogueFormat.markdown:
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


def download(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", autocompletion=completion.image_sets, help="Image sets, such as mnist."
        ),
    ],
) -> None:
    """Download published image sets.

    They are kept in the folder GROUNDRULES_DATA (default: your cache).
    """
    from trainers.tasks.images import download as fetch
    from trainers.tasks.images import image_set

    for row in [image_set(name) for name in names]:  # all names are right before the first byte comes
        print(f"{row.name} is in {fetch(row.name)}")


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", parser=place, help="Created if missing.")
    ] = Path(),
) -> None:
    """Write a study file and a task file to start from.

    Both are commented. Nothing is overwritten.
    """
    from studies.commands.start import write_templates

    files = write_templates(folder)
    for file in files:
        print(f"wrote {file}")
    study, tasks = files
    print(f"next  {as_typed('plan', study, '--tasks-from', tasks)}")


def scope(
    spec: Spec,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", metavar="NAME,...", help="Development tasks or your own; default: three that ship."
        ),
    ] = None,
    points: Annotated[int, typer.Option("--points", help="Points per level and task.")] = 32,
    engine: EngineOption = Engine.ray,
    workers: Workers = None,
    device: Device = "cpu",
    gpu_fraction: GpuFraction = 0.0,
    as_json: Json = False,
) -> None:
    """Check a study's tuning ranges before it runs.

    Trains on development tasks only, never on those that the study judges. The same command
    resumes.
    """
    from studies.cluster.status_text import given_up_text
    from studies.execution.interrupts import interrupted_by_sigterm
    from studies.execution.progress import Display, duration
    from studies.load_study import load
    from studies.operations.range_scan import scan_ranges

    study = load(spec)
    names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    with interrupted_by_sigterm(), Display() as display:
        scan = scan_ranges(
            study,
            workspace=workspace,
            tasks_from=tasks_from,
            tasks=names,
            points=points,
            engine=engine.value,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            display=display,
        )
    summary = scan.summary
    if as_json:
        print(json.dumps(scan.to_dict(), indent=2))
    else:
        for line in (*(f"note: {note}" for note in summary.notes), *scan.lines()):
            print(line)
        print(f"trained {summary.trained} of {summary.planned} members ({duration(summary.seconds)})")
        print(f"page      {scan.page}")
    if not summary.complete:
        for line in given_up_text(summary, as_typed("logs", scan.study, workspace=workspace)):
            print(line, file=sys.stderr)
        raise typer.Exit(1)


def simulate(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ROW", help="A row, such as V3; may be repeated.")
    ] = None,
    studies: Annotated[int, typer.Option(min=1, help="Simulated studies per row.")] = 1000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: Json = False,
) -> None:
    """Measure how often the verdict rule is wrong.

    Uses simulated studies whose truth is known. Exit code 1 unless every bound is shown to hold.
    """
    from studies.simulation import table

    found = table.simulate(only or (), studies=studies, workers=workers, watch=_say_part)
    print(json.dumps(table.plain(found), indent=2) if as_json else table.text(found))
    if not all(one.holds for one in found):
        raise typer.Exit(1)


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
