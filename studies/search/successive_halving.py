"""Successive halving: a trial is stopped at a rung unless it is among the best third of those seen there.

Jamieson and Talwalkar, arXiv 1502.07943; asynchronous form of Li et al., arXiv 1810.05934. Here a generation
is judged only by generations that were complete when it could first be asked: so what is stopped does not
depend on the order in which packs end, and a resumed search stops the same trials.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence

from search_spaces.config import Setting
from trainers.evaluation import Evaluation
from trainers.loop.validation_log import evaluation_steps

ETA = 3
"""One in so many goes on."""
DEPTH = 2
"""Rungs: at 1/9 and 1/3 of the training."""

Rungs = tuple[tuple[int, float], ...]
"""(step, the largest validation metric with which training goes on)."""


def rung_looks(evaluations: int) -> tuple[int, ...]:
    """The looks (counted from 1) that are rungs: the first at or after each share of the training."""
    looks = (-(-evaluations // ETA**power) for power in range(DEPTH, 0, -1))  # rounded up
    return tuple(dict.fromkeys(look for look in looks if look < evaluations))


class Ladder:
    """What has been seen at each rung so far, kept in order as trials come in."""

    def __init__(self, evaluations: int) -> None:
        """With so many looks in one training."""
        self._seen: dict[int, list[float]] = {look: [] for look in rung_looks(evaluations)}

    def add(self, rows: Iterable[Evaluation]) -> None:
        """Members of a complete generation; a diverged one counts as the worst, at every rung."""
        for row in rows:
            for look, seen in self._seen.items():
                if (metric := _at(row, look)) is not None:
                    bisect.insort(seen, metric)

    def rungs(self, setting: Setting) -> Rungs:
        """Where a member with this setting is judged, and by what.

        Returns:
            One entry for each rung at which at least ETA members have been seen.
        """
        steps = evaluation_steps(setting)
        thresholds = []
        for look, seen in self._seen.items():
            place = len(seen) // ETA
            if place and math.isfinite(seen[place - 1]):
                thresholds.append((steps[look - 1], seen[place - 1]))
        return tuple(thresholds)


def rungs(setting: Setting, earlier: Sequence[Evaluation]) -> Rungs:
    """The rungs of a member with this setting after all of these, members of complete generations."""
    ladder = Ladder(setting.evaluations)
    ladder.add(earlier)
    return ladder.rungs(setting)


def _at(row: Evaluation, look: int) -> float | None:
    """The metric at a look; infinite where it diverged before, None where it was stopped before."""
    if row.status == "diverged":
        return math.inf
    if row.status == "finished":  # perhaps early, by a rule of its own: what it had then, it keeps
        look = min(look, len(row.curve))
    return row.curve[look - 1].validation_metric if 0 < look <= len(row.curve) else None
