"""Which ranges of a study file should be wider, and how wide the catalogue lets them be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.evidence.range_edges import OUTER
from reports.evidence.range_scan_record import Limits, Proposal, SearchedRange
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES
from search_spaces.factor import Range
from search_spaces.space import open_ranges, setting_range
from studies.spec.design_points import design_points
from studies.spec.resolved import ResolvedStudy

WIDER = 1 / 3
"""An end with too many good points moves out by this share of the range, on the scale it is drawn on."""


def proposals(spec: ResolvedStudy, ranges: Sequence[SearchedRange]) -> tuple[Proposal, ...]:
    """One proposal for each number of the study's `nuisance`, in the file's order.

    A file has one range of a number for all levels, so that what one level needs all of them get. An end
    moves where it holds more than a tenth of the best points of a flagged level, its share of the range.
    """
    return tuple(_proposal(spec, name, [one for one in ranges if one.edge.number == name])
                 for name in spec.nuisance)  # fmt: skip


def _proposal(spec: ResolvedStudy, name: str, ranges: Sequence[SearchedRange]) -> Proposal:
    stated = spec.nuisance[name]
    old: Limits | None = None if stated is None else (stated.low, stated.high)
    flagged = [one for one in ranges if one.edge.flagged]
    if not flagged:
        return Proposal(number=name, old=old, new=old, why="")
    why = "; ".join(one.sentence() for one in flagged)
    if old is None:
        return Proposal(
            number=name, old=None, new=None, why=f"{why}; the range is already all that the catalogue allows"
        )
    crowded = (
        any(one.edge.low > OUTER * one.edge.winners for one in flagged),
        any(one.edge.high > OUTER * one.edge.winners for one in flagged),
    )
    new = _widened(_allowed(spec, name), old, crowded)
    if new == old:
        why += "; at some level the catalogue allows no more"
    return Proposal(number=name, old=old, new=new, why=why)


def _allowed(spec: ResolvedStudy, name: str) -> Range:
    """What the catalogue allows at every level and background that opens the number: what a file may say."""
    if name in SETTING_NAMES:
        low, high = SETTING_LIMITS[name]
        return setting_range(name, low, high, low)
    spans = [open_ranges(place.point.levels) for place in design_points(spec.spec)]
    own = [span[name] for span in spans if name in span]
    return replace(own[0], low=max(span.low for span in own), high=min(span.high for span in own))


def _widened(allowed: Range, old: Limits, ends: tuple[bool, bool]) -> Limits:
    """The old limits, moved out at the crowded ends as far as that is allowed."""
    low, high = map(allowed.unit, old)
    step = WIDER * (high - low)
    moved = (
        _short(allowed, max(0.0, low - step)) if ends[0] else old[0],
        _short(allowed, min(1.0, high + step)) if ends[1] else old[1],
    )
    return min(moved[0], old[0]), max(moved[1], old[1])


def _short(allowed: Range, unit: float) -> float:
    """A value that can be read: 3 digits, within the limits."""
    value = float(f"{allowed.at(unit):.3g}")
    return min(max(value, allowed.low), allowed.high)
