"""The boundary audit: do winners of the searches sit at the ends of their ranges? (method.md 2.4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports.evidence.study_record import StudyRecord
from search_spaces.space import open_ranges

OUTER = 0.10
"""A winner lies at the edge within this share of the range, at either end."""

ALARM = 0.20
"""With more than this share of winners at the edge, the range should have been wider."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The winners of one number at one level of one row."""

    factor: str
    regime: str
    level: str
    number: str
    low: int
    """Winners in the lowest tenth of the range (logarithmic where the range is)."""
    high: int
    """Winners in the highest tenth."""
    winners: int
    """One for each task and block."""

    @property
    def flagged(self) -> bool:
        return (self.low + self.high) / self.winners > ALARM

    def sentence(self) -> str:
        """What a page says of a flagged range; retuning has started, so that it is not widened any more."""
        return (
            f"{self.number} of {self.level} in {self.factor}@{self.regime}: {self.low + self.high} of "
            f"{self.winners} winners lie in the outer tenths of its range "
            f"({self.low} low, {self.high} high); "
            "a wider range might serve this level better"
        )


def audit(record: StudyRecord) -> tuple[Edge, ...]:
    """Every number of every level that was tuned, flagged or not, in the record's order; controls have none.

    Numbers of levels without a catalogued range (settings) have no edge to speak of here.
    """
    counts: dict[tuple[str, str, str, str], list[int]] = {}
    answered = {question.factor for question in record.answered}
    for row in record.evaluations:
        s = row.slot
        if s.factor not in answered or s.phase != "confirm" or row.arm != "tuned" or s.index:
            continue
        spans = open_ranges(row.config.levels)
        for number, limits in record.nuisance.items():
            if number not in row.config.numbers or number not in spans:
                continue
            span = spans[number]
            own = span.narrowed(max(limits[0], span.low), min(limits[1], span.high))
            place = own.unit(row.config.numbers[number])
            counted = counts.setdefault((s.factor, s.regime, s.level, number), [0, 0, 0])
            counted[0] += place < OUTER
            counted[1] += place > 1 - OUTER
            counted[2] += 1
    return tuple(
        Edge(factor=f, regime=r, level=level, number=number, low=low, high=high, winners=winners)
        for (f, r, level, number), (low, high, winners) in sorted(counts.items())
    )


def flagged(edges: tuple[Edge, ...]) -> Mapping[tuple[str, str], tuple[Edge, ...]]:
    """(factor, regime) -> its flagged edges."""
    by_level: dict[tuple[str, str], tuple[Edge, ...]] = {}
    for edge in edges:
        if edge.flagged:
            by_level[edge.factor, edge.regime] = (*by_level.get((edge.factor, edge.regime), ()), edge)
    return by_level
