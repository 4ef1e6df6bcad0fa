"""Recommended defaults as text, and what changed between two tables of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.operations.defaults_sources import elsewhere, table_named
from studies.operations.pages import defaults_of
from studies.operations.records import record_of

if TYPE_CHECKING:
    from reports.defaults.diff import Differences
    from reports.defaults.schema import Defaults


@dataclass(frozen=True, kw_only=True)
class Export:
    """A table of defaults in one format, or the best configuration of a search study."""

    text: str
    notes: tuple[str, ...] = ()
    """What a plain PyTorch file leaves out."""


def export_study(study: str, format: str, *, workspace: Path, previous: Path | str | None = None) -> Export:
    """What a study recommends.

    Args:
        study: of the workspace; or a defaults file, or `published`, `textbook`, `framework`.
        format: one of `reports.export.formats.FORMATS`.
        workspace: of the study.
        previous: the file of the last release, or `published`: its levels stay while they are admissible.

    Raises:
        ValueError: no such study or format, or a study that carries no verdicts.
    """
    from reports.evidence.search_record import SearchRecord
    from studies.search.summary import exported

    table = elsewhere(study, workspace)
    if table is not None:
        if previous is not None:
            raise ValueError(f"--previous goes with a study of the workspace, not with {study}")
        return render_table(table, format)
    record = record_of(workspace, study)
    if isinstance(record, SearchRecord):
        if previous is not None:
            raise ValueError(
                f"study '{study}' is a search study: it releases no defaults, so --previous means nothing"
            )
        return Export(text=exported(record, format))
    return render_table(defaults_of(record, None if previous is None else Path(previous)), format)


def render_table(table: Defaults, format: str) -> Export:
    """The table in a format of `reports.export.formats.FORMATS`; ValueError for another."""
    from reports.export.formats import render
    from reports.export.torch_file import left_out, to_know

    text = render(table, format)
    return Export(text=text, notes=(*left_out(table), *to_know(table)) if format == "python" else ())


def compare_tables(before: Any, after: Any, *, workspace: Path) -> Differences:
    """What changed from one table to another.

    Args:
        before: a `Defaults`, or what `studies.operations.defaults_sources.table_named` takes.
        after: likewise; compared where both have a regime.
        workspace: of studies that are given by name.

    Raises:
        ValueError: no such table, or two that have no regime in common.
    """
    from reports.defaults.diff import differences

    names = tuple(one if isinstance(one, str) else "the table" for one in (before, after))
    tables = [table_named(one, workspace) if isinstance(one, str) else one for one in (before, after)]
    return differences(tables[0], tables[1], (names[0], names[1]))
