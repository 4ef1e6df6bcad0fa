"""A verdict in words a practitioner can act on and a statistician can accept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from reports.evidence.race_progress import RaceProgress
from reports.verdicts.model import Effect, Verdict

LABELS = {
    "confirmed": "confirmed",
    "tied": "tied",
    "contradicted": "contradicted",
    "insufficient": "insufficient evidence",
    "unlisted": "not in the textbook",
}


def answer(verdict: Verdict) -> str:
    """The row in one or two sentences."""
    v = verdict
    take = (
        f"use {v.recommended}"
        if v.decided_by != "fallback" or v.fallback_reason
        else "no level is proved good enough"
    )
    take = take[0].upper() + take[1:] if v.general else f"On these tasks: {take}"
    return f"{take}. {_because(v)}"


def needed(verdict: Verdict) -> str:
    """What it would take where the evidence is insufficient; '' otherwise."""
    if verdict.label != "insufficient":
        return ""
    if verdict.tasks_needed is not None:
        return (
            f"If tasks go on as these {verdict.families} families did, about {verdict.tasks_needed} families "
            "would settle the row (4 chances in 5)."
        )
    if verdict.families < 3:
        return "Fewer than 3 task families say nothing about others; a general answer needs at least 8."
    return (
        "More than 200 task families would be needed: the difference is too close to one margin, or the "
        "tasks disagree; a narrower regime would help more than more tasks."
    )


def against(effect: Effect) -> str:
    """An effect with its interval: '+2.3 margins [+1.9, +2.6]'."""
    low, high = effect.interval
    if not math.isfinite(low):
        return f"{signed(effect.margins)} margins (no interval: one block only)"
    return f"{signed(effect.margins)} margins [{signed(low)}, {signed(high)}]"


def above(effect: Effect) -> str:
    """'+2.3 margins [+1.9, +2.6] higher'; of an effect below 0, how much lower."""
    if effect.margins >= 0:
        return f"{against(effect)} higher"
    low, high = effect.interval
    return f"{against(replace(effect, margins=-effect.margins, interval=(-high, -low)))} lower"


def signed(value: float) -> str:
    """Two decimals with a sign, and a true minus."""
    return f"{value:+.2f}".replace("-", "−")


def listed(names: Sequence[str], last: str = "and") -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def counted(count: int, noun: str) -> str:
    """'1 block', '4 blocks', '8 task families'."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def titled(name: str, title: str) -> str:
    """A study's name and title; the name alone where it has no title."""
    return f"{name}: {title}" if title else name


def raced(course: RaceProgress) -> str:
    """How a row's race ended: at which look, what was dropped, what that saved; '' where it did not race."""
    if not course.decided:
        return ""
    looks = (*course.looks, *course.beyond)
    last = looks[-1]
    look = f"look {course.taken} of {len(looks)}"
    after = f"after {course.families} of {last} task families"
    by_look: dict[int, list[str]] = {}
    for level, families in course.dropped.items():
        by_look.setdefault(families, []).append(level)
    gone = [f"{listed(levels)} after {families}" for families, levels in sorted(by_look.items())]
    saved, planned = course.saved
    return (
        f"stopped at {look}, {after}; dropped as worse by more than a margin: {'; '.join(gone) or 'none'}; "
        f"{saved} of {planned} planned pairs of level and task were not needed"
    )


def _because(v: Verdict) -> str:
    """Why this level is recommended, and what that means for the textbook's choice."""
    if v.fallback_reason:
        return f"It is the textbook's, because {v.fallback_reason}."
    if v.decided_by == "fallback":
        return _fallback(v)
    book = _book(v)
    head = v.headline
    equal = [v.recommended, *(level for level in v.admissible if level != v.recommended)]
    others = "" if len(equal) == len(v.mean_error) else " The other levels are not proved as good."
    if v.label == "unlisted":
        if len(equal) > 1:
            return (
                f"{listed(equal)} are each proved within one margin of every rival, and {v.recommended} is "
                f"the cheapest. The textbook has no such row.{others}"
            )
        worse = f"; {head.level} has an error {above(head)}" if head else ""
        return (
            f"It is the only level proved within one margin of every rival{worse}. The textbook has no such "
            "row."
        )
    if v.label == "confirmed":
        proof = f"{listed(equal)} are proved within one margin of every rival"
        if len(equal) == 1:
            worse = f"; {head.level} has an error {above(head)}" if head else ""
            proof = f"It is the only level proved within one margin of every rival{worse}"
        return f"The textbook's choice ({book}) is confirmed. {proof}."
    if v.label == "tied":
        return (
            f"It makes no practical difference which of {listed(equal)} is used: each is proved within one "
            f"margin of every rival, and {v.recommended} is the cheapest. The textbook says {book}.{others}"
        )
    if v.label == "contradicted":
        lost = v.contradiction
        by = f": {lost.level} has an error {against(lost)} higher than {lost.against}'s" if lost else ""
        ties = f" {listed(equal[1:])} would do as well." if len(equal) > 1 else ""
        return f"The textbook's choice ({book}) is contradicted{by}.{ties}"
    ties = f" {listed(equal[1:])} would do as well." if len(equal) > 1 else ""
    worse = f": {head.level} has an error {above(head)}" if head else ""
    return (
        f"It is proved within one margin of every rival.{ties} Whether the textbook's choice ({book}) is "
        f"worse stays open{worse}. {needed(v)}"
    )


def _book(v: Verdict) -> str:
    """The textbook's levels, and which of them this study says nothing about."""
    compared = [level for level in v.textbook if level in v.mean_error]
    absent = [level for level in v.textbook if level not in v.mean_error]
    if not absent or not compared:
        return listed(v.textbook, "or") or "no level"
    return f"{listed(compared, 'or')}; {listed(absent)} {'was' if len(absent) == 1 else 'were'} not compared"


def _fallback(v: Verdict) -> str:
    """No level is proved good enough."""
    fallback = f"{v.recommended}, the cheapest, is kept"
    if v.textbook:
        fallback = f"The textbook's {v.recommended} is kept as a fallback"
        fallback += "" if v.trained else ", though it was never trained here"
    if v.label == "contradicted":
        fallback += ", although one rival is better than every level the textbook names"
    least = ""
    if len(v.least) == len(v.mean_error) > 1:
        least = "All levels had the same error. "
    elif v.recommended not in v.least:
        equally = "equally, " if len(v.least) > 1 else ""
        least = f"{listed(v.least)} had the least mean error, {equally}which proves nothing. "
    return f"{least}{fallback}. {needed(v)}".rstrip()
