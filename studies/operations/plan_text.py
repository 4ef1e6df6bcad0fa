"""What `groundrules plan` says: what would be trained, what it costs, and how likely it is to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from reports.verdicts.families_needed import settle_probability
from reports.verdicts.sentences import counted, titled
from studies.comparison.cost_estimate import CostEstimate
from studies.execution.progress import planned_time
from studies.spec.load import with_profile
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import Profile

TASK_SD, BLOCK_SD = 0.5, 1.0
"""What is assumed of a study nobody has run: SDs of level effects over tasks and blocks, in margins."""

Chances = Mapping[str, float]
"""As `reports.verdicts.families_needed.settle_probability` gives them."""


def lines(study: ResolvedStudy, outlines: Mapping[Profile, CostEstimate], cores: int) -> list[str]:
    """For a reader: the study at its profile, then all profiles side by side.

    Args:
        study: at the profile that would run.
        outlines: of every profile.
        cores: packs trained at the same time.
    """
    ours = outlines[study.profile]
    said = [titled(ours.study, study.title)]
    for (factor, regime), chance in _rows(study, ours).items():
        said.append(f"  {factor} in {regime}: {', '.join(ours.tasks[factor][regime])}")
        said.append(
            f"    settles: {100 * chance['clear_winner']:.0f} % with a clear winner, "
            f"{100 * chance['equal']:.0f} % on ties"
        )
    packs = sum(ours.packs.values())
    size = ", ".join([counted(ours.cells, "cell"), counted(ours.total, "member"), counted(packs, "pack")])
    said.append(f"{size} (profile {study.profile})")
    for phase, members in ours.members.items():
        said.append(f"  {phase:8} {members:6} members in {counted(ours.packs[phase], 'pack'):>11}")
    looks = study.effective_budget.looks
    if ours.least_total < ours.total:
        said.append(
            f"  rows are looked at after {', '.join(map(str, looks))} families: from {ours.least_total} "
            f"members, if every row stops at the first look, to {ours.total}, if none stops or drops a level"
        )
    said += [f"  {fact}" for fact in ours.unsettled]
    said += [f"  note: {note}" for note in ours.notes]
    said += [
        "",
        f"profile             members   {f'time on {cores} cores':>24}   "
        "chance that a row settles: clear winner, all equal",
    ]
    for name, found in outlines.items():
        chance = worst(with_profile(study, name), found)
        mark = "*" if name == study.profile else " "
        least = planned_time(found.least_seconds / cores)
        time = _span(least, planned_time(found.seconds / cores))
        span = _span(str(found.least_total), str(found.total))
        said.append(
            f"{mark}{name:9} {span:>16}   {time:>24}   "
            f"{100 * chance['clear_winner']:24.0f} % {100 * chance['equal']:12.0f} %"
        )
    said.append(
        "(chances where tasks differ by half a margin and blocks by one; a clear winner leads by two)"
    )
    return said


def plain(study: ResolvedStudy, outlines: Mapping[Profile, CostEstimate]) -> dict[str, Any]:
    """The same for a program."""
    ours = outlines[study.profile]
    return {
        "chosen": study.profile,
        "power": {name: worst(with_profile(study, name), found) for name, found in outlines.items()},
        "looks": list(study.effective_budget.looks),
        "settles": {f"{factor}@{regime}": chance for (factor, regime), chance in _rows(study, ours).items()},
        **asdict(ours),
    }


def worst(study: ResolvedStudy, found: CostEstimate) -> Chances:
    """The chances of the question with the most levels, if all of its families are accepted."""
    return _settles(study, max(len(q.levels) for q in study.asked), found.families)


def _rows(study: ResolvedStudy, found: CostEstimate) -> dict[tuple[str, str], Chances]:
    """(factor, regime) -> its chances, where the pilot accepts every task."""
    levels = {question.factor: len(question.levels) for question in study.asked}
    return {
        (factor, regime): _settles(study, levels[factor], found.judged[factor][regime])
        for factor, regimes in found.tasks.items()
        for regime in regimes
        if found.judged[factor][regime]
    }


def _settles(study: ResolvedStudy, levels: int, families: int) -> Chances:
    budget = study.effective_budget
    return _simulated(levels, families, budget.blocks, budget.looks, study.alpha)


@lru_cache(maxsize=256)
def _simulated(levels: int, families: int, blocks: int, looks: tuple[int, ...], alpha: float) -> Chances:
    return settle_probability(
        levels, families, blocks, tau=TASK_SD, block_sd=BLOCK_SD, looks=looks, alpha=alpha
    )


def _span(least: str, most: str) -> str:
    return most if least == most else f"{least} to {most}"
