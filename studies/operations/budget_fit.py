"""The largest profile of a study that fits a number of hours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from studies.execution.progress import duration
from studies.spec.errors import SpecError
from studies.spec.load import with_profile
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import PROFILES, Profile

if TYPE_CHECKING:
    from studies.comparison.cost_estimate import CostEstimate
    from trainers.tasks.user_tasks import TaskSource


def outlines(
    spec: ResolvedStudy, *, tasks_from: TaskSource | None = None, device: str = "cpu"
) -> dict[Profile, CostEstimate]:
    """What the study would cost at every profile, from the smallest to the largest."""
    from studies.comparison.cost_estimate import measured_speed, outline
    from studies.run import check_device

    check_device(device)
    names = cast("tuple[Profile, ...]", tuple(PROFILES))
    speed = measured_speed(device)
    return {
        name: outline(with_profile(spec, name), tasks_from=tasks_from, device=device, measured=speed)
        for name in names
    }


def fitting(found: Mapping[Profile, CostEstimate], hours: float, *, at_once: int, file: str) -> Profile:
    """The largest profile whose members, all of them, are trained within so many hours.

    Races that end early leave time over; what is promised is the time if none does.

    Args:
        found: as `outlines` gave them, from the smallest to the largest.
        hours: of wall clock.
        at_once: packs trained at the same time.
        file: the study's, for the message.

    Raises:
        SpecError: not even the smallest fits.
    """
    seconds = {name: outline.seconds / at_once for name, outline in found.items()}
    inside = [name for name, needed in seconds.items() if needed <= 3600 * hours]
    if not inside:
        name = min(seconds, key=seconds.__getitem__)
        rule = (
            f"no profile fits {hours:g} hours: {name} takes about {duration(seconds[name])} with {at_once} "
            "packs at a time; allow more hours, or ask for fewer levels, regimes or families"
        )
        raise SpecError(file, "budget.profile", rule)
    return inside[-1]


def started_profile(workspace: Path, study: str) -> Profile | None:
    """The profile that a study was started with in this workspace; None where it was not.

    A resume must not measure the machine again: it may be faster today.
    """
    from studies.ledger.ledger import Ledger

    found = Ledger.find(workspace)
    if found is None:
        return None
    with found as ledger:
        row = ledger.find_study(study)
    return cast("Profile", row.protocol["spec"]["budget"]["profile"]) if row else None
