"""One self-contained HTML page per search study: what was found, and how; exploratory from top to bottom."""

from __future__ import annotations

from pathlib import Path

from reports.evidence.effective_settings import cut_in_search
from reports.evidence.processors import mixture_of
from reports.evidence.search_record import EXPLORATORY, Dimension, SearchRecord
from reports.io.safe_paths import make_folder, write
from reports.pages import search_figures
from reports.pages.figures import FigurePanel
from reports.pages.study_page import csv_text, environment
from search_spaces.overrides import spelled


def write_search_report(record: SearchRecord, folder: Path) -> Path:
    """Writes `index.html` and one CSV per figure into `folder`; returns the page's path.

    A search that is not complete gets the same page, marked interim.
    """
    html, pictures = build(record)
    make_folder(folder)
    for picture in pictures:
        write(folder / f"{picture.name}.csv", csv_text(picture))
    page = folder / "index.html"
    write(page, html)
    return page


def build(record: SearchRecord) -> tuple[str, tuple[FigurePanel, ...]]:
    """The page's text and its pictures, without touching a disk."""
    best = record.best
    curve = search_figures.error_curve(record, best) if best and best.curve else None
    history = search_figures.history(record) if record.evaluations else None
    importance = search_figures.importance(record)
    parallel = search_figures.parallel(record)
    slices = search_figures.slices(record) if record.evaluations else ()
    html = (
        environment()
        .get_template("search.html")
        .render(
            record=record,
            exploratory=EXPLORATORY[0].upper() + EXPLORATORY[1:],
            best=best,
            searched={dimension.name.rpartition(".")[2] for dimension in record.space},
            curve=curve,
            history=history,
            importance=importance,
            parallel=parallel,
            slices=slices,
            steps=_steps(record),
            limits=limits,
            spelled=spelled,
            mixture=mixture_of(record),
            cut=cut_in_search(record),
        )
    )
    pictures = (curve, history, importance, parallel, *slices)
    return html + "\n", tuple(picture for picture in pictures if picture is not None)


def limits(dimension: Dimension) -> str:
    """A parameter's values or limits, in words."""
    if dimension.values:
        return ", ".join(map(spelled, dimension.values))
    how = ", log scale" if dimension.log else ""
    whole = ", whole numbers" if dimension.whole else ""
    return f"{dimension.low:g} to {dimension.high:g}{how}{whole}"


def _steps(record: SearchRecord) -> tuple[int, int]:
    """Updates made, and what the same trials would have made without a pruner or a divergence."""
    return (
        sum(row.steps for row in record.evaluations),
        sum(row.config.setting.steps for row in record.evaluations),
    )
