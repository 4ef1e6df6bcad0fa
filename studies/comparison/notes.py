"""What a user should know of a comparison's plan: replaced tasks, races, challenges, missing families."""

from __future__ import annotations

from collections.abc import Mapping

from reports.evidence.budget import Margin
from reports.evidence.race_progress import RaceProgress
from reports.verdicts.sentences import counted, raced
from studies.comparison.challenge import challenge_notes
from studies.comparison.external_check import ExternalCheck
from studies.comparison.protocol import Chain, Plan


def plan_notes(
    plan: Plan,
    *,
    races: Mapping[tuple[str, str], RaceProgress],
    challenges: Mapping[tuple[str, str], tuple[Chain, ...]],
    external: ExternalCheck | None,
    unchecked: str,
    margins: Mapping[tuple[str, str], Margin],
) -> tuple[str, ...]:
    """One sentence a note.

    Args:
        plan: as it was frozen.
        races: (factor, regime) -> how far its race has come.
        challenges: (factor, regime) -> the chains of its challenge.
        external: the external check; None before the verdicts are frozen.
        unchecked: why there is no external check; '' while there may be one.
        margins: (task, regime) -> its margin, those of the external check included.
    """
    protocol = plan.protocol
    notes = [f"{m.task} was left out in {m.regime}: {m.explained}" for m in plan.margins if not m.accepted]
    for factor, regimes in plan.tasks.items():
        wanted = protocol.families(factor)
        for regime, tasks in regimes.items():
            families = len({protocol.facts[task].family for task in tasks})
            if families < wanted:
                on = counted(families, "task family")
                notes.append(f"{factor} in {regime} is judged on {on} instead of {wanted}")
    notes += [
        f"{factor} in {regime}: {sentence}"
        for (factor, regime), race in races.items()
        if (sentence := raced(race))
    ]
    notes += challenge_notes(challenges)
    if not (wanted := protocol.study.external):
        return tuple(notes)
    if unchecked:
        return (*notes, f"no external check: {unchecked}")
    if external is None or external.unpiloted(margins):
        return tuple(notes)
    for regime in external.frozen.recipes:
        families = len({protocol.facts[task].family for task in external.judged(regime, margins)})
        if families < wanted:
            notes.append(
                f"the external check of {regime} has {families} untouched task families, not {wanted}"
            )
    return tuple(notes)
