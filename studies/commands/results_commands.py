"""The commands on studies that were run: report, results, ui; export, diff, why, claims, replay, check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import (
    DEFAULT_WORKSPACE,
    YAML,
    Device,
    DiffFormat,
    ExportFormat,
    Json,
    Output,
    ResultsFormat,
    Study,
    TasksFrom,
    Workspace,
)
from studies.commands.pages import write_pages
from studies.commands.path_arguments import place
from studies.commands.records import record_of

if TYPE_CHECKING:
    from reports.defaults.schema import Defaults


def report(study: Study, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """Rebuild a study's pages from the ledger alone."""
    from studies.tracking.tracker import has_store, log_report, restore
    from studies.workspace_files import refuse_links

    refuse_links(workspace, study)
    record = record_of(workspace, study)
    page, defaults = write_pages(workspace, record)
    if has_store(workspace, study) and restore(workspace, record):
        log_report(workspace, study, page.parent)
    if as_json:
        print(json.dumps({"report": str(page), "defaults": str(defaults) if defaults else None}))
    else:
        print(f"report    {page}")
        print(f"defaults  {defaults or 'none yet: the study carries no verdicts'}")


def results(
    study: Study,
    table: Annotated[
        ResultsFormat, typer.Option("--format", help="Parquet needs --output.")
    ] = ResultsFormat.csv,
    output: Output = None,
    timings: Annotated[bool, typer.Option("--timings", help="Also when and how long each trained.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write every evaluation of a study, one row each."""
    from studies.commands.results import rows, write
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        found = rows(ledger, study, timings=timings)
    sys.stdout.write(write(found, table.value, output))


def ui(
    workspace: Workspace = DEFAULT_WORKSPACE,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 or none: a free one.")] = None,
) -> None:
    """Show the workspace's MLflow pages on this machine, until Ctrl-C."""
    from studies.tracking.ui import pages_elsewhere, serve
    from studies.workspace_files import refuse_links

    refuse_links(workspace)
    elsewhere = pages_elsewhere(workspace)
    for line in elsewhere:
        print(line)
    if not elsewhere and serve(
        workspace, port or None, say=lambda address: print(f"MLflow: {address} (Ctrl-C ends it)", flush=True)
    ):
        raise typer.Exit(1)


def export(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="A study, a defaults file, or published, textbook, framework."),
    ],
    kind: Annotated[ExportFormat, typer.Option("--format", help="How to write them.")] = YAML,
    output: Output = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            "--previous",
            metavar="FILE",
            parser=place,
            help="The last release, or `published`: its levels stay if they may.",
        ),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write a study's recommended defaults.

    Of a search study, the best configuration.
    """
    from reports.evidence.search_record import SearchRecord
    from studies.commands.defaults_sources import elsewhere
    from studies.commands.pages import defaults_of, emit
    from studies.search.summary import exported

    table = elsewhere(study, workspace)
    if table is not None:
        if previous is not None:
            raise ValueError(f"--previous goes with a study of the workspace, not with {study}")
    else:
        record = record_of(workspace, study)
        if isinstance(record, SearchRecord):
            if previous is not None:
                raise ValueError(
                    f"study '{study}' is a search study: it releases no defaults, so --previous means nothing"
                )
            emit(exported(record, kind.value), output)
            return
        table = defaults_of(record, previous)
    emit(rendered(table, kind), output)


def rendered(table: Defaults, kind: ExportFormat) -> str:
    """The table in a format; what it leaves out is noted on the error stream."""
    from reports.export.formats import FORMATS, render

    text = render(table, kind.value)
    for note in FORMATS[kind.value].notes(table):
        print(f"note: {note}", file=sys.stderr)
    return text


def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="A", help="A defaults file, a study, or published, textbook, framework."),
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="Likewise; compared where both have a regime.")],
    kind: Annotated[DiffFormat, typer.Option("--format", help="How to say it.")] = DiffFormat.text,
    output: Output = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Say what changed from A to B; exit code 1 if anything.

    And which verdict moved it.
    """
    from reports.defaults.diff import differences
    from reports.export.diff_text import diff_text
    from studies.commands.defaults_sources import table_named
    from studies.commands.pages import emit

    tables = table_named(before, workspace), table_named(after, workspace)
    found = differences(*tables, (before, after))
    emit(diff_text(found, kind.value), output)
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
    from studies.commands.why import card_from_file, card_from_workspace

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
    """List what studies say of the claims of texts.

    Each study of the workspace alone, and all together; exit code 2 where one is
    damaged, which is left out.
    """
    from studies.commands.claims import claims_of, lines, plain
    from studies.ledger.row_codec import damaged_studies

    found = claims_of(workspace)
    print(json.dumps(plain(found), indent=2) if as_json else "\n".join(lines(found)))
    if found.damage:
        raise damaged_studies(found.damage)


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
    """Train one evaluation again, alone, and compare.

    Exit code 1 when it came out differently.
    """
    from studies.commands.replay import replay as again

    found = again(workspace, evaluation, tasks_from=tasks_from, device=device)
    print(json.dumps(found.plain(), indent=2) if as_json else "\n".join(found.lines()))
    if not found.same:
        raise typer.Exit(1)


def check(study: Study, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """Verify that the ledger holds what was committed.

    Row by row; exit code 1 where it does not, and 2 where it cannot be read at
    all. Every other command ends with 2 where what it needs is damaged.
    """
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        found = ledger.check(study)
    print(json.dumps(found.plain(), indent=2) if as_json else "\n".join(found.lines()))
    if found.faults:
        raise typer.Exit(1)
