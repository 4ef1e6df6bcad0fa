"""What a scope has seen: where good points lie, which numbers matter, how results scatter. No evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports.evidence.budget import Margin, TaskFacts
from reports.evidence.range_edges import ALARM, Edge

SCOPE = "a scope: it serves to choose ranges, on tasks that are never judged; nothing here is evidence"

Limits = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SearchedRange:
    """One number at one level of one row."""

    edge: Edge
    """Where the best tenth of each task's points lie; a 'winner' is one of these."""
    low: float
    high: float
    """Limits of the search."""
    best: tuple[float, float, float]
    """Least, median and largest value among the best points."""
    importance: float | None
    """Share in being among the best tenth (PED-ANOVA), mean over tasks. None: it is searched alone, or
    too few points finished."""

    def sentence(self) -> str:
        """What the boundary audit says of it."""
        e = self.edge
        return (
            f"{e.level} in {e.factor}@{e.regime}: of {e.winners} best points {e.low} in the lowest tenth, "
            f"{e.high} in the highest"
        )


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What to do about one number of the study's `nuisance`."""

    number: str
    old: Limits | None
    """None: the catalogue's, level by level."""
    new: Limits | None
    why: str
    """'' where nothing was flagged."""

    @property
    def changed(self) -> bool:
        """Whether the range should be widened, and can be."""
        return self.old != self.new


@dataclass(frozen=True, kw_only=True)
class TaskSpread:
    """How much the levels of one row differ from task to task."""

    factor: str
    regime: str
    task_sd: float | None
    """SD over tasks of a level's distance from the mean of the levels, at the best point of each, in margins;
    root mean square over levels. It holds the noise of one seed on one split. None: fewer than 2 tasks."""
    tasks: int
    point_sd: float
    """SD of the points of one level on one task, in margins, mean over both: what tuning is about. A point
    that diverged counts with the trivial predictor's error."""


@dataclass(frozen=True, kw_only=True)
class RangeScanRecord:
    """All of it."""

    name: str
    title: str
    facts: Mapping[str, TaskFacts]
    points: int
    """Of the design, for every level on every task."""
    finished: int
    planned: int
    margins: tuple[Margin, ...]
    """Of the pilots, with the SD over their seeds."""
    searched: tuple[SearchedRange, ...]
    proposals: tuple[Proposal, ...]
    """One for each number of the study's `nuisance`."""
    scatter: tuple[TaskSpread, ...]
    versions: Mapping[str, str]
    hardware: str
    mixture: str = ""
    """That its members were trained by different kernels (`evidence.processors.mixture`); '' where not."""
    given_up: tuple[str, ...] = ()
    """Where and why packs were given up whose members are missing: a line each."""

    @property
    def complete(self) -> bool:
        return self.finished == self.planned

    @property
    def yaml(self) -> str:
        """The `nuisance:` of the study file with the ranges as they are proposed."""
        lines = ["nuisance:"]
        for one in self.proposals:
            limits = "" if one.new is None else f" {{low: {one.new[0]!r}, high: {one.new[1]!r}}}"
            lines.append(f"  {one.number}:{limits}")
        return "\n".join(lines) + "\n"

    @property
    def rule(self) -> str:
        """By which a range is flagged."""
        return (
            f"A range is flagged with more than {ALARM:.0%} of the best points in its outer tenths. Points "
            "of a number that does not matter lie there as often (2 of 10): read importance beside it."
        )


def span(limits: Limits | None) -> str:
    """Limits in words."""
    return "the catalogue's" if limits is None else f"{limits[0]:.4g} to {limits[1]:.4g}"
