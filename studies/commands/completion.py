"""What the shell completes where a word of ours is wanted: studies, rows, factors, image sets.

A mistake here must never disturb who types: where something cannot be read, nothing is suggested.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from studies.commands.path_arguments import DEFAULT_WORKSPACE, WORKSPACE_VARIABLE

SPECS = Path(__file__).parents[1] / "specs"
TABLES = ("published", "textbook", "framework")
"""Tables of defaults that are there without a study."""
STUDY_FILES = (".yaml", ".yml")

Suggestions = Callable[[typer.Context, str], list[str]]


def _suggestions(words: Callable[[typer.Context, str], Iterable[str]]) -> Suggestions:
    """Those of the words that begin with what was typed; none where they cannot be told."""

    @wraps(words)
    def suggest(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [word for word in words(ctx, incomplete) if word.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - a traceback would stand in the middle of the line being typed
            return []

    return suggest


@_suggestions
def study_files(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Studies that ship, and study files here; where none fits the shell completes files by itself."""
    folder = os.path.dirname(incomplete)
    here = sorted(Path(folder or ".").glob("*"))
    files = [os.path.join(folder, path.name) for path in here if path.suffix in STUDY_FILES]
    shipped = [] if folder else sorted(path.stem for path in SPECS.glob("*.yaml"))
    return [*shipped, *files]


@_suggestions
def studies(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Those of the workspace."""
    return _recorded(ctx)


@_suggestions
def tables(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Whatever holds recommended defaults."""
    return [*_recorded(ctx), *TABLES]


@_suggestions
def rows(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Rows that studies of the workspace answer: factor@regime."""
    return dict.fromkeys(
        f"{question['factor']}@{regime}"
        for spec in _recorded(ctx).values()
        for question in spec.get("questions", ())
        for regime in question["regimes"]
    )


@_suggestions
def factors(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Those of the catalogue."""
    from search_spaces.catalog import FACTORS

    return FACTORS


@_suggestions
def image_sets(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Those that can be fetched."""
    from trainers.tasks.images import IMAGE_SETS

    return [row.name for row in IMAGE_SETS]


def _recorded(ctx: typer.Context) -> dict[str, dict[str, Any]]:
    """Study -> its resolved spec, of the workspace that is named on the line so far."""
    from studies.ledger.ledger import Ledger

    named = ctx.params.get("workspace") or os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE
    ledger = Ledger.find(Path(named))
    if ledger is None:
        return {}
    with ledger:
        return {row.name: row.protocol["spec"] for row in ledger.sound_studies()[0]}
