"""What a study would train and cost: the answer of `groundrules plan` and of `groundrules.plan`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.kinds import AnySpec
from studies.operations import budget_fit, plan_text
from studies.resource_estimate import ResourceNeeds, needs_of_plan
from studies.search import summary
from studies.search.spec import SearchSpec
from studies.spec.load import with_profile
from studies.spec.resolved import ResolvedStudy

if TYPE_CHECKING:
    from studies.comparison.cost_estimate import CostEstimate
    from studies.search.cost_estimate import SearchCostEstimate
    from studies.spec.sections import Profile
    from trainers.tasks.user_tasks import TaskSource


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A guideline study as it would be run, with its cost at every profile."""

    spec: ResolvedStudy
    """At the profile that would run."""
    outlines: Mapping[Profile, CostEstimate]
    """Profile -> cells, members, packs and seconds."""
    cores: int
    """Packs trained at the same time."""
    resources: ResourceNeeds
    """Disk and memory that it would need here."""

    @property
    def outline(self) -> CostEstimate:
        """At the profile that would run."""
        return self.outlines[self.spec.spec.budget.profile]

    def lines(self) -> list[str]:
        """For a reader: the study, then all profiles side by side."""
        return [*plan_text.lines(self.spec, self.outlines, self.cores), self.resources.sentence()]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**plan_text.plain(self.spec, self.outlines), "resources": self.resources.plain()}


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """A search study as it would be run."""

    spec: SearchSpec
    outline: SearchCostEstimate
    resources: ResourceNeeds

    def lines(self) -> list[str]:
        """For a reader."""
        return [*summary.planned(self.outline, self.spec.title), self.resources.sentence()]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**asdict(self.outline), "resources": self.resources.plain()}


def plan_study(
    spec: AnySpec,
    *,
    workspace: Path,
    tasks_from: TaskSource | None = None,
    profile: Profile | None = None,
    hours: float | None = None,
) -> StudyPlan | SearchPlan:
    """Checks a study and estimates what it costs. Trains nothing of it; a small pack is timed for a second.

    Args:
        spec: the study.
        workspace: where it would run: its disk is looked at.
        tasks_from: the user's own tasks.
        profile: another budget than the file's.
        hours: wall-clock time that the largest profile has to fit into; excludes `profile`.

    Raises:
        ValueError: the study cannot be run as it stands, or no profile fits.
    """
    one_budget(profile, hours)
    cores = len(os.sched_getaffinity(0))
    if isinstance(spec, SearchSpec):
        from studies.search.cost_estimate import search_outline

        no_profile(spec, profile, hours)
        needs = needs_of_plan(spec, {"search": spec.trials}, workspace, tasks_from, cores)
        return SearchPlan(spec=spec, outline=search_outline(spec, tasks_from=tasks_from), resources=needs)
    outlines = budget_fit.outlines(spec, tasks_from=tasks_from)
    if hours is not None:
        spec = with_profile(spec, budget_fit.fitting(outlines, hours, at_once=cores, file=spec.file))
    elif profile:
        spec = with_profile(spec, profile)
    members = outlines[spec.spec.budget.profile].members
    needs = needs_of_plan(spec, members, workspace, tasks_from, cores)
    return StudyPlan(spec=spec, outlines=outlines, cores=cores, resources=needs)


def profile_within(
    spec: AnySpec,
    hours: float,
    *,
    workspace: Path,
    tasks_from: TaskSource | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> tuple[Profile | None, bool]:
    """The profile to run within so many hours, and whether it was chosen now.

    Returns:
        The profile that the study was started with here, else the largest that fits; None for a search study.

    Raises:
        ValueError: no profile fits, or a search study, which has none.
    """
    if isinstance(spec, SearchSpec):
        no_profile(spec, None, hours)
        return None, False
    started = budget_fit.started_profile(workspace, spec.study)
    if started:
        return started, False
    at_once = workers or len(os.sched_getaffinity(0))
    outlines = budget_fit.outlines(spec, tasks_from=tasks_from, device=device)
    return budget_fit.fitting(outlines, hours, at_once=at_once, file=spec.file), True


def one_budget(profile: str | None, hours: float | None) -> None:
    """ValueError where both are given."""
    if profile is not None and hours is not None:
        raise ValueError("--profile and --hours: give one of them; hours choose a profile")


def no_profile(spec: SearchSpec, profile: str | None, hours: float | None) -> None:
    """ValueError where a search study is given a profile, or hours to choose one."""
    if profile is not None or hours is not None:
        rule = f"a search study has no profile; its budget is trials = {spec.trials}"
        raise ValueError(f"{spec.file}: {rule}")
