"""The words of the command line: choices, arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reports.export.formats import FORMATS
from studies.commands import completion
from studies.commands.path_arguments import DEFAULT_WORKSPACE as DEFAULT_WORKSPACE
from studies.commands.path_arguments import WORKSPACE_VARIABLE, output_place, place, workspace_place


class Engine(StrEnum):
    """Where packs are trained."""

    ray = "ray"
    inline = "inline"


class LocalEngine(StrEnum):
    """Which cluster a run may use: submit sends a study to any other."""

    auto = "auto"


class Profile(StrEnum):
    """How much is spent."""

    quick = "quick"
    standard = "standard"
    full = "full"


ExportFormat = StrEnum("ExportFormat", [(name, name) for name in FORMATS])  # type: ignore[misc]  # no list that mypy reads
"""The formats of an export."""
YAML = ExportFormat("yaml")


class DiffFormat(StrEnum):
    """The formats of differences."""

    text = "text"
    markdown = "markdown"
    json = "json"


class CatalogueFormat(StrEnum):
    """The formats of the catalogue."""

    plain = "plain"
    markdown = "markdown"


class ResultsFormat(StrEnum):
    """The formats of results."""

    csv = "csv"
    parquet = "parquet"


Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        autocompletion=completion.study_files,
        help="A study file, or the name of a study that ships.",
    ),
]
Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", autocompletion=completion.studies, help="The name of a study in the workspace."
    ),
]
Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace",
        metavar="DIR",
        envvar=WORKSPACE_VARIABLE,
        parser=workspace_place(DEFAULT_WORKSPACE),
        help="Folder of the ledger, MLflow store, artifacts and reports.",
    ),
]
TasksFrom = Annotated[
    Path | None,
    typer.Option(
        "--tasks-from",
        metavar="FILE.py",
        parser=place,
        help="A Python file with your own tasks in a list TASKS.",
    ),
]
ProfileOption = Annotated[
    Profile | None, typer.Option("--profile", help="Budget profile, in place of the file's.")
]
Hours = Annotated[
    float | None,
    typer.Option("--hours", min=0, metavar="H", help="Use the largest profile that fits into H hours."),
]
EngineOption = Annotated[
    Engine, typer.Option("--engine", help="ray: worker processes; inline: this process.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=1024, help="Packs trained at a time; default: one per CPU."),
]
Device = Annotated[str, typer.Option("--device", help="A torch device, such as cpu or cuda.")]
GpuFraction = Annotated[
    float,
    typer.Option(
        "--gpu-fraction",
        min=0,
        max=1,
        help="GPU share per worker: 0.25 puts four packs on one GPU.",
    ),
]
HereOption = Annotated[
    LocalEngine | None,
    typer.Option("--cluster", help="auto: use the running Ray cluster that this machine or job belongs to."),
]
ClusterUrl = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="URL", help="Ray's dashboard, such as http://HEAD:8265; default: the site's."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="FILE", parser=output_place, help="Write to this file instead of the screen."
    ),
]
