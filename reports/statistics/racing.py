"""The race over task families: a look after a few of them, levels dropped, an early stop (method.md 2.10).

Best-arm identification by successive elimination, with the margin as tolerance and cost order as the tie
rule. Axes as in `compare`: any leading axes are simulated studies, each with a race of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.statistics.compare import FEW_FAMILIES, Array, Comparison, compare
from reports.statistics.decision import admissible


@dataclass(frozen=True, kw_only=True, eq=False)
class Race:
    """Where every race ended. Axes: any leading ones, then L level (cheapest first)."""

    comparison: Comparison
    """[..., L, L] of the look at which it stopped; a pair with a dropped level keeps its last look."""
    surviving: NDArray[np.bool_]
    """[..., L] levels that were never dropped."""
    admissible: NDArray[np.bool_]
    """[..., L] survivors proved within one margin of every other survivor."""
    families: NDArray[np.int64]
    """[...] families judged when it stopped."""
    level_tasks: NDArray[np.int64]
    """[...] (level, family) pairs that were trained: what the race costs."""


def looks_within(looks: Sequence[int], families: int) -> tuple[int, ...]:
    """The planned looks that so many families allow; where the tasks ran out, the last is at their end."""
    return (*(look for look in looks if look < families), families)


def race(
    errors: Array,
    delta: Array,
    family: NDArray[np.int64],
    *,
    looks: Sequence[int],
    alpha: float,
    planned: int | None = None,
    overlap: Array | None = None,
) -> Race:
    """Races levels over families in their planned order.

    At each look, with bounds at alpha / (L * looks): a level is dropped where it is *proved more than one
    margin worse* than a survivor (dropping what is merely significantly worse would lose a true best in 15
    to 24 % of studies); the race stops as soon as the cheapest survivor is admissible, or at the last look.

    Args:
        errors: [..., T, R, L] test errors, cheapest level first. NaN where a level was dropped before that
            task and so never trained on it: from there on it is out of this race too, whatever its margins.
        delta: [T] or [..., T] margins in the same units.
        family: [T] the number of each task's family, 0..F-1, numbered in the order they enter.
        looks: families after which the data may be looked at, increasing; families beyond the last are
            not read.
        alpha: error rate of the decision.
        planned: looks that the plan allows, for the correction; None: all that are given.
        overlap: [T] test items per training item, where the families are too few to speak of others.

    Raises:
        ValueError: looks that do not increase, or ask for more families than there are.
    """
    count = int(family.max()) + 1
    if list(looks) != sorted(set(looks)) or not looks or looks[-1] > count:
        raise ValueError(
            f"looks {tuple(looks)} must increase and end at most at the {count} families there are"
        )
    leading, levels = errors.shape[:-3], errors.shape[-1]
    surviving = np.ones((*leading, levels), dtype=bool)
    proved = np.zeros_like(surviving)
    running = np.ones(leading, dtype=bool)
    seen = np.zeros(leading, dtype=np.int64)
    spent = np.zeros(leading, dtype=np.int64)
    latest: dict[str, Array] = {}
    for place, look in enumerate(looks):
        inside = family < look
        absent = np.isnan(errors[..., inside, :, :]).any(axis=(-3, -2))
        surviving = surviving & ~(absent & running[..., None])
        spent += np.where(running, surviving.sum(axis=-1) * (look - (looks[place - 1] if place else 0)), 0)
        now = compare(
            errors[..., inside, :, :],
            delta[..., inside],
            family[inside],
            alpha=alpha,
            looks=planned or len(looks),
            over="families" if look >= FEW_FAMILIES else "splits",
            overlap=None if overlap is None else overlap[inside],
        )
        pairs = running[..., None, None] & surviving[..., :, None] & surviving[..., None, :]
        for name, fresh in vars(now).items():
            latest[name] = np.where(pairs, fresh, latest.get(name, fresh))
        worse_than = (now.lower > 1.0) & pairs & ~np.eye(levels, dtype=bool)
        left = surviving & ~worse_than.any(axis=-1)
        # Clipped effects need not add up, so that levels could beat each other in a circle.
        surviving = np.where(left.any(axis=-1, keepdims=True), left, surviving)
        good = admissible(now.upper, surviving)
        proved = np.where(running[..., None], good, proved)
        seen = np.where(running, look, seen)
        cheapest = np.take_along_axis(good, surviving.argmax(axis=-1)[..., None], axis=-1)[..., 0]
        running = running & ~cheapest
        if not running.any():
            break
    return Race(
        comparison=Comparison(**latest),
        surviving=surviving,
        admissible=proved,
        families=seen,
        level_tasks=spent,
    )
