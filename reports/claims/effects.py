"""What a claim's type compares, as one number per task and block: an effect in margins with its bounds.

Axes: T task, R block. Everything comes from confirm rows that passed the fairness checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reports.evidence.arrays import Evidence
from reports.statistics.bootstrap import Improvement, improvement, shares
from reports.statistics.claim_rules import EffectBounds
from reports.statistics.compare import (
    FEW_FAMILIES,
    Array,
    block_effects,
    bounded,
    family_effects,
    over_families,
    over_splits,
    prediction_half_width,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockEffects:
    """One effect per task and block, and how tasks form families."""

    values: Array
    """[T, R] in margins; above 0 speaks for the claim."""
    tasks: tuple[str, ...]
    family: NDArray[np.int64]
    """[T] numbers 0..F-1."""
    overlap: Array
    """[T] test items per training item."""

    @property
    def families(self) -> int:
        return int(self.family.max()) + 1

    @property
    def general(self) -> bool:
        """Enough families to speak of others; otherwise intervals are over the splits of these tasks."""
        return self.families >= FEW_FAMILIES

    @property
    def by_task(self) -> Array:
        """[T] mean over blocks."""
        means: Array = self.values.mean(axis=1)
        return means

    @property
    def units(self) -> Array:
        """[F] mean over the tasks of each family."""
        return np.array([self.by_task[self.family == f].mean() for f in range(self.families)])

    def overall(self, *, level: float) -> OverallEffect:
        """Mean, bounds at one-sided `level` and 95 % interval."""
        effects = self.values[..., None, None]
        if self.general:
            mean, error, freedom = over_families(family_effects(effects.mean(axis=1), self.family))
            free = float(freedom)
        else:
            mean, error, each = over_splits(effects, self.family, self.overlap)
            free = float(each[0, 0])
        at = bounded(mean, error, free, level=level)
        return OverallEffect(
            bounds=EffectBounds(
                mean=at.mean[0, 0], error=at.error[0, 0], lower=at.lower[0, 0], upper=at.upper[0, 0]
            ),
            freedom=free,
            interval=(float(at.interval_low[0, 0]), float(at.interval_high[0, 0])),
        )

    def prediction(self) -> tuple[float, float] | None:
        """95 % interval for the effect on a new family; None where too few speak of others."""
        if not self.general:
            return None
        half = float(prediction_half_width(self.values[..., None, None], self.family)[0, 0])
        mean = float(self.units.mean())
        return mean - half, mean + half

    def improve(self) -> Improvement | None:
        """P(improve) over families; None where they are too few."""
        return improvement(shares(self.values, self.family)) if self.general else None

    def mirrored(self) -> BlockEffects:
        """The same with the sign turned."""
        return replace(self, values=-self.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class OverallEffect:
    """An effect over all tasks."""

    bounds: EffectBounds
    freedom: float
    interval: tuple[float, float]
    """Two-sided 95 %."""


def measured(evidence: Evidence, levels: Sequence[str]) -> Evidence:
    """The row's evidence about these levels alone, in this order, on the tasks where all were trained."""
    at = [evidence.levels.index(level) for level in levels]
    trained = evidence.of(*levels)
    return replace(
        trained,
        levels=tuple(levels),
        tuned=trained.tuned[..., at],
        untuned=trained.untuned[..., at],
        finished=trained.finished[at],
    )


def pair(evidence: Evidence, a: int = 0, b: int = 1) -> BlockEffects:
    """How much worse level number `b` is than `a`: above 0 speaks for `a`."""
    effects = block_effects(evidence.tuned[..., [a, b]], evidence.delta)[..., 1, 0]
    return _blocks(evidence, effects)


def slope(evidence: Evidence) -> BlockEffects:
    """What the error falls by from the first level to the last, along a straight line over equal steps."""
    effects = block_effects(evidence.tuned, evidence.delta)[..., :, 0]  # [T, R, L] above the first level
    places = np.arange(len(evidence.levels)) - (len(evidence.levels) - 1) / 2
    rise = effects @ places / (places @ places) * (len(places) - 1)
    return _blocks(evidence, -rise)


def difference(first: BlockEffects, second: BlockEffects) -> BlockEffects | None:
    """The effect in one regime minus the effect in the other, on their common tasks, block by block.

    None where no task was judged in both.
    """
    common = [task for task in first.tasks if task in second.tasks]
    if not common:
        return None
    rows = [first.tasks.index(task) for task in common]
    others = [second.tasks.index(task) for task in common]
    numbers = list(dict.fromkeys(first.family[rows].tolist()))
    return BlockEffects(
        values=first.values[rows] - second.values[others],
        tasks=tuple(common),
        family=np.array([numbers.index(f) for f in first.family[rows]], dtype=np.int64),
        overlap=np.maximum(first.overlap[rows], second.overlap[others]),
    )


def points(evidence: Evidence, a: int = 0, b: int = 1) -> float:
    """Raw, unclipped: the error of `b` minus that of `a`, in percentage points (or hundredths of an SD)."""
    raw = (evidence.tuned[..., b] - evidence.tuned[..., a]).mean(axis=1)
    units = [raw[evidence.family == f].mean() for f in range(len(evidence.families))]
    return float(100 * np.mean(units))


def _blocks(evidence: Evidence, values: Array) -> BlockEffects:
    return BlockEffects(values=values, tasks=evidence.tasks, family=evidence.family, overlap=evidence.overlap)
