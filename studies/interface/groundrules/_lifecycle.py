"""What becomes of a study once it has run: deleted, archived, restored, compacted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from groundrules._inputs import as_workspace

if TYPE_CHECKING:
    from studies.lifecycle.archive import ArchiveSummary
    from studies.lifecycle.places import Freed


def delete(study: str, *, workspace: str | Path | None = None) -> Freed:
    """Deletes a study for good: ledger, MLflow runs, artifacts, pages. Nobody is asked.

    Args:
        study: its name.
        workspace: see `run`.

    Returns:
        How many bytes became free, by database and folder.

    Raises:
        ValueError: no such study, one that runs, or one that another study extends.

    Examples:
        >>> _ = gr.archive("tiny", "before.zip")
        >>> gr.delete("tiny").total > 0
        True
        >>> gr.restore("before.zip").study
        'tiny'
    """
    from studies.lifecycle import removal

    return removal.delete(as_workspace(workspace), study)


def compact(study: str | None = None, *, workspace: str | Path | None = None) -> Freed:
    """Removes MLflow's runs of single members, which no verdict, page or resume needs; shrinks the databases.

    Args:
        study: its name; None: the databases are only shrunk.
        workspace: see `run`.

    Raises:
        ValueError: no such study, or one that runs.

    Examples:
        >>> gr.compact().total >= 0
        True
    """
    from studies.lifecycle import removal

    return removal.compact(as_workspace(workspace), study)


def archive(study: str, output: str | Path, *, workspace: str | Path | None = None) -> ArchiveSummary:
    """Writes a study into one file and verifies it: ledger rows with their seal, pages, artifacts.

    Args:
        study: its name.
        output: the file to write.
        workspace: see `run`.

    Raises:
        ValueError: no such study, one that runs, or one that is damaged.

    Examples:
        >>> gr.archive("tiny", "tiny.zip").study
        'tiny'
    """
    from studies.lifecycle import archive as archives

    return archives.archive(as_workspace(workspace), study, Path(output))


def restore(file: str | Path, *, workspace: str | Path | None = None) -> ArchiveSummary:
    """Brings an archived study back, once every hash in the file is verified.

    Args:
        file: of `archive`.
        workspace: see `run`.

    Raises:
        ValueError: the file is no archive or damaged, or the workspace holds a study of that name.

    Examples:
        >>> gr.restore("tiny.zip", workspace="another").study
        'tiny'
    """
    from studies.lifecycle import archive as archives

    return archives.restore(as_workspace(workspace), Path(file))
