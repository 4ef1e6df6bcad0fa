"""Recommended defaults, claims, and the state of a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from groundrules._inputs import as_workspace

if TYPE_CHECKING:
    from reports.defaults.diff import Differences
    from reports.defaults.schema import Defaults
    from search_spaces.factor import Factor
    from studies.ledger.integrity import IntegrityReport
    from studies.operations.claims import ClaimsListing
    from studies.operations.why import EvidenceCard
    from studies.simulation.table import MeasuredScenario


def write_report(study: str, *, workspace: str | Path | None = None) -> Path:
    """Writes a study's pages again, from the ledger alone.

    Args:
        study: its name.
        workspace: see `run`.

    Returns:
        The study's page; figures' data, and the defaults where there are verdicts, lie beside it.

    Raises:
        ValueError: no such study, or one whose pilot is not complete.

    Examples:
        >>> gr.write_report("tiny").name
        'index.html'
    """
    from studies.operations.running import rebuild_pages

    return rebuild_pages(as_workspace(workspace), study).page


def export(
    study: str | Defaults,
    format: str = "yaml",
    *,
    output: str | Path | None = None,
    previous: str | Path | None = None,
    workspace: str | Path | None = None,
) -> str:
    """Recommended defaults as text.

    Args:
        study: a study's name, a defaults file, `published`, `textbook`, `framework`, or a table of defaults.
        format: yaml, json, markdown, latex, python (plain PyTorch) or optuna.
        output: a file to write as well.
        previous: the file of the last release, or `published`: its levels stay while they are admissible.
        workspace: see `run`.

    Raises:
        ValueError: no such study or format, no verdicts yet, or a file that cannot be written.

    Examples:
        >>> "activation" in gr.export("tiny", "json")
        True
    """
    from studies.operations.defaults_tables import export_study, render_table
    from studies.operations.pages import emit

    if not isinstance(study, str):
        if previous is not None:
            raise ValueError("--previous goes with a study of the workspace, not with a table")
        exported = render_table(study, format)
    else:
        exported = export_study(study, format, workspace=as_workspace(workspace), previous=previous)
    if output is not None:
        emit(exported.text, Path(output))
    return exported.text


def diff(
    before: str | Defaults, after: str | Defaults, *, workspace: str | Path | None = None
) -> Differences:
    """What changed from one table of defaults to another, and which verdict moved it.

    Args:
        before: a defaults file, a study's name, `published`, `textbook`, `framework`, or a table of defaults.
        after: likewise; compared where both have a regime.
        workspace: of studies that are given by name; see `run`.

    Returns:
        The rows and numbers that differ; `any` says whether there are some.

    Raises:
        ValueError: no such table, or two without a regime in common.

    Examples:
        >>> gr.diff("tiny", "tiny").any
        False
    """
    from studies.operations.defaults_tables import compare_tables

    return compare_tables(before, after, workspace=as_workspace(workspace))


def why(
    row: str,
    *,
    file: str | Path | None = None,
    study: str | None = None,
    workspace: str | Path | None = None,
) -> EvidenceCard:
    """The evidence behind one recommended default; `lines()` for a reader.

    Args:
        row: `factor@regime`, such as `initializer@deep`.
        file: a defaults file, or `published`, that has the row; None: the workspace has.
        study: which one, where several studies of the workspace have that row.
        workspace: see `run`.

    Raises:
        ValueError: no such row, or several studies that have it.

    Examples:
        >>> gr.why("activation@shallow", study="tiny").row.textbook
        ('relu',)
    """
    from studies.operations.why import card_from_file, card_from_workspace

    if file is not None:
        if study is not None:
            raise ValueError("--study goes with the workspace, not with a defaults file")
        return card_from_file(str(file), row)
    return card_from_workspace(as_workspace(workspace), row, study)


def claims(*, workspace: str | Path | None = None) -> ClaimsListing:
    """What the studies of a workspace say of the claims of texts: each study alone, and all together.

    Args:
        workspace: see `run`.

    Returns:
        One entry for each claim, and in `damage` the studies that the ledger cannot read.

    Raises:
        ValueError: there is no ledger.

    Examples:
        >>> gr.claims().entries
        ()
    """
    from studies.operations.claims import claims_of

    return claims_of(as_workspace(workspace))


def check(study: str, *, workspace: str | Path | None = None) -> IntegrityReport:
    """Holds every row of the ledger against its hash.

    Args:
        study: its name.
        workspace: see `run`.

    Returns:
        What was looked at, and in `faults` each row that is not what was committed.

    Raises:
        ValueError: no ledger, or no such study.

    Examples:
        >>> gr.check("tiny").faults
        ()
    """
    from studies.ledger.ledger import Ledger

    with Ledger.open(as_workspace(workspace)) as ledger:
        return ledger.check(study)


@overload
def catalog() -> Mapping[str, Factor[Any]]: ...
@overload
def catalog(factor: str) -> Factor[Any]: ...
def catalog(factor: str | None = None) -> Mapping[str, Factor[Any]] | Factor[Any]:
    """What can vary: every factor with its levels, their ranges and their sources.

    Args:
        factor: one factor's name; None: all.

    Returns:
        The factor, or name -> factor for all of them.

    Raises:
        ValueError: an unknown factor; the message names those there are.

    Examples:
        >>> gr.catalog("activation").textbook_shallow
        ('relu',)
    """
    from search_spaces.catalog import FACTORS
    from search_spaces.factor import unknown

    if factor is None:
        return FACTORS
    if factor not in FACTORS:
        raise unknown("factor", factor, FACTORS)
    return FACTORS[factor]


def download(*names: str) -> dict[str, Path]:
    """Fetches published image sets into the data folder (GROUNDRULES_DATA; default: your cache).

    Args:
        names: such as `mnist`; sets that are there and whole stay.

    Returns:
        Name -> the folder it is in.

    Raises:
        ValueError: no image set of that name (before the first byte is fetched), or it cannot be fetched.

    Examples:
        >>> gr.download()
        {}
    """
    from trainers.tasks.images import download, image_set

    return {row.name: download(row.name) for row in [image_set(name) for name in names]}


def write_templates(folder: str | Path = ".") -> tuple[Path, Path]:
    """Writes a commented study file and a file of tasks to start from.

    Args:
        folder: made where missing.

    Returns:
        The study file and the file of tasks.

    Raises:
        ValueError: one of them is there already; nothing is written then.

    Examples:
        >>> [file.name for file in gr.write_templates("my-study")]
        ['study.yaml', 'tasks.py']
    """
    from studies.commands.start import write_templates

    return write_templates(Path(folder))


def simulate(
    *rows: str, studies: int = 1000, workers: int = 1, watch: Callable[[int, int, str], None] | None = None
) -> tuple[MeasuredScenario, ...]:
    """Measures how often the verdict rule is wrong, on simulated studies whose truth is known.

    Args:
        rows: of the validation table, such as `V3`; none: all.
        studies: simulated studies per row.
        workers: processes.
        watch: called with (parts done, parts, row) as work goes on.

    Returns:
        One line for each check: how often it came out, with its 97.5 % bounds and whether it holds.

    Raises:
        ValueError: an unknown row, or fewer than one study or worker.

    Examples:
        >>> gr.simulate("V3", studies=2)[0].out_of
        2
    """
    from studies.simulation.table import simulate

    return simulate(rows, studies=studies, workers=workers, watch=watch)


def ui(
    *,
    workspace: str | Path | None = None,
    port: int | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Serves the workspace's MLflow pages on this machine until it is interrupted.

    Args:
        workspace: see `run`.
        port: None for a free one.
        say: called with the address once the pages can be opened; None: it is printed.

    Raises:
        ValueError: no MLflow store there, a port that is taken, or a site whose pages are elsewhere.

    Examples:
        >>> gr.ui()  # doctest: +SKIP
    """
    from studies.tracking.ui import pages_elsewhere, serve
    from studies.workspace_files import refuse_links

    folder = as_workspace(workspace)
    refuse_links(folder)
    if elsewhere := pages_elsewhere(folder):
        raise ValueError("; ".join(elsewhere))
    code = serve(folder, port or None, say=say or print)
    if code:
        raise RuntimeError(f"MLflow's server ended by itself with code {code}")
