"""What a study has found, read from the ledger of its workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundrules._inputs import as_workspace
from reports.evidence.search_record import SearchRecord
from reports.evidence.study_record import StudyRecord
from search_spaces.factor import unknown
from studies.operations.records import record_of

if TYPE_CHECKING:
    import pandas as pd

    from reports.defaults.best_configuration import Best
    from reports.defaults.schema import Defaults
    from reports.verdicts.model import Verdict
    from studies.operations.why import EvidenceCard
    from studies.run import RunSummary


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a study's page. A notebook shows it by itself.

    Examples:
        >>> figure = next(iter(gr.load_results("tiny").figures.values()))
        >>> list(figure.data.columns) == list(figure.columns)
        True
    """

    name: str
    """Unique in the study; names the CSV file beside the page."""
    title: str
    description: str
    """For readers who do not see it."""
    svg: str
    """The picture as one <svg> element with colours of its own."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int, ...], ...]
    """The numbers in the picture: as many as `columns` in each row."""

    @property
    def data(self) -> pd.DataFrame:
        """The numbers in the picture: one row a point, the columns of the CSV file beside the page."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(self.columns))

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True, kw_only=True)
class Results:
    """What one study has found. Made by `run`, `extend` and `load_results`; read from the ledger when asked.

    Examples:
        >>> results = gr.load_results("tiny")
        >>> results.complete
        True
        >>> [verdict.factor for verdict in results.verdicts]
        ['activation']
    """

    study: str
    """The study's name."""
    workspace: Path
    """The folder that holds its ledger and pages."""
    summary: RunSummary | None = field(default=None, repr=False)
    """What the call of `run` that returned this object did; None where the study was only loaded."""

    @cached_property
    def record(self) -> StudyRecord | SearchRecord:
        """Everything the ledger knows of the study: questions, budget, margins, evaluations, versions."""
        return record_of(self.workspace, self.study)

    @property
    def complete(self) -> bool:
        """Whether every planned network has been trained."""
        if self.summary is not None:
            return self.summary.complete
        from studies.operations.jobs import ledger_standing

        progress = ledger_standing(self.workspace, self.study)
        return progress is not None and progress.complete

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know: replaced tasks, too few families, packs that were given up."""
        if self.summary is None:
            return ()
        from studies.operations.running import UNANSWERABLE, is_unanswerable

        given_up = (one.sentence for one in self.summary.given_up)
        nothing = (UNANSWERABLE,) if is_unanswerable(self.workspace, self.study) else ()
        return (*self.summary.notes, *given_up, *nothing)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The answers, one for each question and regime; () for a search study.

        Raises:
            ValueError: the evaluations cannot carry a verdict yet; the message says why.
        """
        from reports.verdicts.verdict import verdicts

        return () if isinstance(self.record, SearchRecord) else verdicts(self.record)

    @cached_property
    def defaults(self) -> Defaults:
        """What the study recommends, each row with its evidence.

        Raises:
            ValueError: a search study, or one that carries no verdicts yet.
        """
        from studies.operations.pages import defaults_of

        if isinstance(self.record, SearchRecord):
            raise ValueError(
                f"study '{self.study}' is a search study: it carries no verdicts and has no defaults"
            )
        return defaults_of(self.record)

    @property
    def best(self) -> Best:
        """The best configuration of a search study, by validation. Exploratory: no verdict stands behind it.

        Raises:
            ValueError: another kind of study, or no trial has finished yet.
        """
        from reports.defaults.best_configuration import best

        if not isinstance(self.record, SearchRecord):
            raise ValueError(f"study '{self.study}' compares levels; only a search study has a best trial")
        return best(self.record)

    def evaluations(self, *, timings: bool = False) -> pd.DataFrame:
        """Every trained network as one row, in canonical order.

        Args:
            timings: also `seconds`, `committed_ms` (since 1970) and `pack`, which differ between equal runs.

        Returns:
            One row for each evaluation. Columns: `id`, where it stands (`task`, `regime`, `block`, `level`,
            `phase`, `index`), `status`, `validation_metric`, `test.best_validation` and `test.last` (lower is
            better), and its whole configuration (`level.*`, `number.*`, `setting.*`).

        Examples:
            >>> table = gr.load_results("tiny").evaluations()
            >>> judged = table[table["evidence"]]
            >>> sorted(judged.groupby("level")["test.best_validation"].mean().index)
            ['relu', 'tanh']
        """
        import pandas as pd

        from studies.ledger.ledger import Ledger
        from studies.operations.results import rows

        with Ledger.open(self.workspace) as ledger:
            return pd.DataFrame.from_records(rows(ledger, self.study, timings=timings))

    @cached_property
    def figures(self) -> Mapping[str, Figure]:
        """Name -> figure, in the order of the page.

        Examples:
            >>> "svg" in next(iter(gr.load_results("tiny").figures.values())).svg
            True
        """
        from reports.pages import search_page, study_page
        from reports.pages.figures import FigurePanel

        record = self.record
        drawn = search_page.build(record) if isinstance(record, SearchRecord) else study_page.build(record)
        colours = _colours()
        return {
            one.name: Figure(
                name=one.name,
                title=one.title,
                description=one.description,
                svg=_standalone(one.svg, colours),
                columns=one.columns,
                rows=one.rows,
            )
            for one in drawn[1]
            if isinstance(one, FigurePanel)
        }

    def figure(self, name: str) -> Figure:
        """One figure; ValueError naming those there are for an unknown name."""
        if name not in self.figures:
            raise unknown(f"figure of study '{self.study}'", name, self.figures)
        return self.figures[name]

    @property
    def report(self) -> Path:
        """The study's page, written again from the ledger where it is missing."""
        from studies.workspace_files import REPORTS

        page = self.workspace.absolute() / REPORTS / self.study / "index.html"
        if not page.is_file():
            from studies.operations.running import rebuild_pages

            return rebuild_pages(self.workspace, self.study).page
        return page

    def export(self, format: str = "yaml", output: str | Path | None = None) -> str:
        """The recommended defaults as text; of a search study the best configuration.

        Args:
            format: yaml, json, markdown, latex, python (plain PyTorch) or optuna.
            output: a file to write as well.

        Raises:
            ValueError: an unknown format, no verdicts yet, or a file that cannot be written.
        """
        from groundrules._tables import export

        return export(self.study, format, output=output, workspace=self.workspace)

    def why(self, row: str) -> EvidenceCard:
        """The evidence behind one row; `lines()` of it for a reader.

        Args:
            row: `factor@regime`, such as `activation@shallow`.

        Raises:
            ValueError: no such row; the message names those there are.

        Examples:
            >>> gr.load_results("tiny").why("activation@shallow").row.regime
            'shallow'
        """
        from studies.operations.why import card_from_workspace

        return card_from_workspace(self.workspace, row, self.study)


def load_results(study: str, *, workspace: str | Path | None = None) -> Results:
    """The results of a study that was run before.

    Args:
        study: its name in the workspace.
        workspace: the folder; None: that of GROUNDRULES_WORKSPACE, else `./groundrules-workspace`.

    Raises:
        ValueError: no ledger there, or no such study; the message names those there are.

    Examples:
        >>> gr.load_results("tiny").study
        'tiny'
    """
    from studies.ledger.ledger import Ledger

    folder = as_workspace(workspace)
    with Ledger.open(folder) as ledger:
        return Results(study=ledger.study(study).name, workspace=folder)


def verdicts(study: str, *, workspace: str | Path | None = None) -> tuple[Verdict, ...]:
    """The answers of a study, one for each question and regime; see `Results.verdicts`.

    Examples:
        >>> gr.verdicts("tiny")[0].textbook
        ('relu',)
    """
    return load_results(study, workspace=workspace).verdicts


def defaults(study: str, *, workspace: str | Path | None = None) -> Defaults:
    """What a study recommends, each row with its evidence; see `Results.defaults`.

    Examples:
        >>> [row.name for row in gr.defaults("tiny").rows]
        ['activation@shallow']
    """
    return load_results(study, workspace=workspace).defaults


def evaluations(study: str, *, workspace: str | Path | None = None, timings: bool = False) -> pd.DataFrame:
    """Every trained network of a study as one row of a DataFrame; see `Results.evaluations`.

    Examples:
        >>> gr.evaluations("tiny")["status"].iloc[0]
        'finished'
    """
    return load_results(study, workspace=workspace).evaluations(timings=timings)


def _colours() -> dict[str, str]:
    """The page's colour variables on a light ground -> their values."""
    css = resources.files("reports").joinpath("templates", "style.css").read_text(encoding="utf-8")
    light = css[: css.index("@media")]
    return dict(re.findall(r"(--[a-z0-9-]+):\s*(#[0-9a-f]{6})", light))


def _standalone(svg: str, colours: Mapping[str, str]) -> str:
    """A picture of the page that can be shown elsewhere: with a name space, and colours for variables."""

    def value(match: re.Match[str]) -> str:
        return colours.get(match[1], "currentColor")

    text: Any = re.sub(r"var\((--[a-z0-9-]+)\)", value, svg)
    return str(text).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
