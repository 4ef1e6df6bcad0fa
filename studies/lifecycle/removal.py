"""Deletes a study, or what of it can be made again.

A study is removed from the outside in: pages, artifacts and MLflow's runs first, which can all be made again
from the ledger, and its rows in the ledger last, in one transaction. So a kill leaves a study that is whole,
perhaps without its pages, and the same command finishes the work; or none at all.
"""

from __future__ import annotations

from pathlib import Path

from studies.ledger import whole_study
from studies.lifecycle.places import Freed, database_sizes, held, refuse_extended, shrink
from studies.tracking.removal import remove_experiment, remove_members


def delete(workspace: Path, study: str) -> Freed:
    """Removes everything of a study; one of the same name can be begun again.

    Its lock file stays: whoever waits for it must not find another one.

    Raises:
        ValueError: no such study; it runs, or another one extends it; its MLflow store does not answer.
    """
    before = database_sizes(workspace)
    with held(workspace, study) as places:
        refuse_extended(places)
        notes = [remove_experiment(workspace, study, places.owner)]
        freed = {"artifacts": places.artifacts.remove(), "reports": places.remove_report()}
        places.extension_file.unlink(missing_ok=True)
        whole_study.remove(places.ledger.database, study)
    return _freed(workspace, study, before, freed, notes)


def compact(workspace: Path, study: str | None) -> Freed:
    """Removes what no verdict, page or resume needs, and shrinks the workspace's databases.

    That is MLflow's runs of single members, and its copy of the report. The ledger stays as it is: pages,
    `replay` and the seal rest on all of it.

    Args:
        workspace: its folder.
        study: its name; None only shrinks the databases.

    Raises:
        ValueError: no such study, or it runs; its MLflow store does not answer.
    """
    before = database_sizes(workspace)
    notes, freed = [], {}
    if study is not None:
        with held(workspace, study) as places:
            notes.append(remove_members(workspace, study))
            freed["artifacts"] = places.report_copy.remove()
    elif not any(before.values()):
        raise ValueError(f"workspace {workspace}: nothing here to compact; run a study first")
    return _freed(workspace, study or "", before, freed, notes)


def _freed(
    workspace: Path, study: str, before: dict[str, int], freed: dict[str, int], notes: list[str]
) -> Freed:
    notes += shrink(workspace)
    after = database_sizes(workspace)
    sizes = {part: max(0, size - after[part]) for part, size in before.items()}
    return Freed(study=study, bytes=sizes | freed, notes=tuple(note for note in notes if note))
