"""The commands on studies that were run: report, results, ui; export, diff, why, claims, replay, check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from studies.commands import completion
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
from studies.commands.path_arguments import place


def report(study: Study, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """Rebuild a study's report from the ledger."""
    from studies.operations.running import rebuild_pages

    pages = rebuild_pages(workspace, study)
    if as_json:
        defaults = str(pages.defaults) if pages.defaults else None
        print(json.dumps({"report": str(pages.page), "defaults": defaults}))
    else:
        print(f"report    {pages.page}")
        print(f"defaults  {pages.defaults or 'none yet: the study carries no verdicts'}")


def results(
    study: Study,
    table: Annotated[
        ResultsFormat, typer.Option("--format", help="Output format; parquet needs --output.")
    ] = ResultsFormat.csv,
    output: Output = None,
    timings: Annotated[bool, typer.Option("--timings", help="Add start times and durations.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write every evaluation of a study as a table."""
    from studies.ledger.ledger import Ledger
    from studies.operations.results import rows, write

    with Ledger.open(workspace) as ledger:
        found = rows(ledger, study, timings=timings)
    sys.stdout.write(write(found, table.value, output))


def ui(
    workspace: Workspace = DEFAULT_WORKSPACE,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; default: a free one.")] = None,
) -> None:
    """Serve the workspace's MLflow pages on this machine until Ctrl-C."""
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
        typer.Argument(
            metavar="STUDY",
            autocompletion=completion.tables,
            help="A study, a defaults file, or published, textbook, framework.",
        ),
    ],
    kind: Annotated[ExportFormat, typer.Option("--format", help="Output format.")] = YAML,
    output: Output = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            "--previous",
            metavar="FILE",
            parser=place,
            help="The previous release, or published: its levels stay while they are admissible.",
        ),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Export a study's recommended defaults.

    For a search study: its best configuration.
    """
    from studies.operations.defaults_tables import export_study
    from studies.operations.pages import emit

    exported = export_study(study, kind.value, workspace=workspace, previous=previous)
    for note in exported.notes:
        print(f"note: {note}", file=sys.stderr)
    emit(exported.text, output)


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="A",
            autocompletion=completion.tables,
            help="A defaults file, a study, or published, textbook, framework.",
        ),
    ],
    after: Annotated[
        str,
        typer.Argument(
            metavar="B",
            autocompletion=completion.tables,
            help="Likewise; regimes that both have are compared.",
        ),
    ],
    kind: Annotated[DiffFormat, typer.Option("--format", help="Output format.")] = DiffFormat.text,
    output: Output = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Show what changed from one table of defaults to another.

    Each change names the verdict behind it. Exit code 1 if anything changed.
    """
    from reports.export.diff_text import diff_text
    from studies.operations.defaults_tables import compare_tables
    from studies.operations.pages import emit

    changes = compare_tables(before, after, workspace=workspace)
    emit(diff_text(changes, kind.value), output)
    if changes.any:
        raise typer.Exit(1)


def why(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE] ROW",
            autocompletion=completion.rows,
            help="A row, such as initializer@deep, of a file or of this workspace.",
        ),
    ],
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            metavar="STUDY",
            autocompletion=completion.studies,
            help="The study, if several have that row.",
        ),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Json = False,
) -> None:
    """Show the evidence behind one recommended default."""
    from studies.operations.why import card_from_file, card_from_workspace

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
    """List what the studies here say about claims from texts.

    Each study of the workspace by itself, and all of them together. A damaged study is left out,
    and the exit code is 2.
    """
    from studies.ledger.row_codec import damaged_studies
    from studies.operations.claims import claims_of, lines, plain

    found = claims_of(workspace)
    print(json.dumps(plain(found), indent=2) if as_json else "\n".join(lines(found)))
    if found.damage:
        raise damaged_studies(found.damage)


def replay(
    evaluation: Annotated[
        str,
        typer.Argument(
            metavar="EVALUATION_ID", help="An id from results or why; its first digits are enough."
        ),
    ],
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Train one evaluation again, alone, and compare.

    Exit code 1 if the result differs.
    """
    from studies.operations.replay import replay as again

    found = again(workspace, evaluation, tasks_from=tasks_from, device=device)
    print(json.dumps(found.plain(), indent=2) if as_json else "\n".join(found.lines()))
    if not found.same:
        raise typer.Exit(1)


def check(study: Study, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """Verify a study's rows in the ledger against their hashes.

    Exit code 1 if a row is damaged, 2 if the ledger cannot be read at all. Every other command
    ends with 2 if something that it needs is damaged.
    """
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        found = ledger.check(study)
    print(json.dumps(found.plain(), indent=2) if as_json else "\n".join(found.lines()))
    if found.faults:
        raise typer.Exit(1)
