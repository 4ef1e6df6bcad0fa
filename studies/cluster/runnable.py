"""A study file as it would be run: read, at its profile, its tasks built and every combination looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studies.kinds import AnyProtocol, AnySpec
from studies.load_study import at_profile, load
from studies.run import checked
from trainers.tasks.user_tasks import task_book

if TYPE_CHECKING:
    from studies.spec.sections import Profile


@dataclass(frozen=True, kw_only=True)
class CheckedStudy:
    """A study that may be run."""

    spec: AnySpec
    fixed: AnyProtocol
    """Its protocol: what is hashed before anything is trained."""
    notes: tuple[str, ...]
    """What is allowed, and means less than it seems to."""


def checked_study(
    path_or_name: str | Path, *, tasks_from: Path | None = None, profile: Profile | None = None
) -> CheckedStudy:
    """Everything that `run` looks at before it trains.

    Args:
        path_or_name: a study file, or the name of one that ships.
        tasks_from: the user's task file.
        profile: another budget than the file's.

    Raises:
        SpecError: anything wrong in the study file, or between it and its tasks.
        ValueError: a task file that cannot be used.
    """
    spec = load(path_or_name)
    if profile:
        spec = at_profile(spec, profile)
    fixed, notes = checked(spec, task_book(tasks_from))
    return CheckedStudy(spec=spec, fixed=fixed, notes=notes)
