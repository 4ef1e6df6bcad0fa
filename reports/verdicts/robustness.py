"""Would another margin, another task or another test have changed the answer?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.evidence.arrays import Evidence, families_of
from reports.statistics.bootstrap import Improvement, Robust, improvement, robust, shares
from reports.statistics.compare import (
    Array,
    block_effects,
    bounded,
    family_effects,
    over_families,
    prediction_half_width,
)
from reports.statistics.regret import LeaveOneOutRegret, left_out, portfolio
from reports.verdicts.model import Verdict
from reports.verdicts.verdict import Decision, decide


@dataclass(frozen=True, kw_only=True)
class KindEffect:
    """One effect on the families of one kind of data, in margins."""

    families: int
    margins: float
    interval: tuple[float, float]
    """Two-sided 95 % t-interval over them."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """One row of the table, judged in other ways that were fixed before the study ran."""

    half_margins: Decision
    """The decision with margins half as wide."""
    double_margins: Decision
    """The decision with margins twice as wide."""
    kept_without: int | None
    """Of the decisions without one family each, how many recommend the same level; None, like
    everything below, where fewer than 8 families are judged."""
    leave_one_task_out: float | None
    """Margins that the level chosen on all other families loses to the best level on the family left
    out, mean over families. Never below 0, and above 0 by noise alone."""
    sign_flip: float | None
    """Two-sided p of the sign-flip test over families for the row's headline effect."""
    median: float | None
    """Median over families of the headline effect, in margins."""
    prediction: tuple[float, float] | None
    """95 % interval for the headline effect on a new family."""
    untuned: Decision
    """The decision at k = 1: every level at its library defaults (method.md 2.1)."""
    regret: LeaveOneOutRegret | None
    """Leave-one-family-out regret of the whole rule."""
    pair: tuple[tuple[str, str], float] | None
    """The two levels that cost least where a user tries both, and their mean regret in margins."""
    estimates: Robust | None
    """The headline effect estimated in other ways."""
    improve: Improvement | None
    """How often the headline's rival loses to the recommended level, block by block."""
    measured: KindEffect | None
    """The headline effect on families of measured data alone; None with fewer than two of them."""
    generated: KindEffect | None
    """The same on families of generated data alone."""


def robustness(evidence: Evidence, verdict: Verdict, *, looks: Sequence[int] | int) -> Robustness:
    """Judges `evidence` again with other margins, without each family, and by other tests."""
    units = family_effects(block_effects(evidence.tuned, evidence.delta).mean(axis=1), evidence.family)
    # With few families only these tasks are spoken of: there is no other family to generalize to.
    general = evidence.over == "families"
    count = looks if isinstance(looks, int) else max(1, len(looks))
    agreeing, losses = 0, []
    for family in range(len(evidence.families)) if general else ():
        chosen = decide(evidence.without(family), looks=count, over="families").recommended
        agreeing += chosen == verdict.recommended
        if chosen in evidence.levels and evidence.present[evidence.levels.index(chosen)]:
            losses.append(float(np.nanmax(units[family, evidence.levels.index(chosen)])))
    sign_flip = median = prediction = estimates = improve = measured = generated = None
    head = verdict.headline
    if head is not None and general:
        i, j = evidence.levels.index(head.level), evidence.levels.index(head.against)
        both = evidence.of(head.level, head.against)
        effects = block_effects(both.tuned, both.delta)
        effect_F = family_effects(effects.mean(axis=1), both.family)[:, i, j]
        estimates = robust(effect_F)
        real, own = families_of(both)
        measured = _of_kind(effect_F, real)
        generated = _of_kind(effect_F, set(range(len(effect_F))) - real - own)
        improve = improvement(shares(effects[..., i, j], both.family))
        sign_flip, median = estimates.sign_flip, estimates.median
        half = float(prediction_half_width(effects, both.family)[i, j])
        prediction = (head.margins - half, head.margins + half)
    return Robustness(
        half_margins=decide(evidence.with_margins(0.5), looks=looks),
        double_margins=decide(evidence.with_margins(2.0), looks=looks),
        kept_without=agreeing if general else None,
        leave_one_task_out=float(np.mean(losses)) if losses else None,
        sign_flip=sign_flip,
        median=median,
        prediction=prediction,
        untuned=decide(replace(evidence, tuned=evidence.untuned), looks=looks),
        regret=left_out(np.array(losses)) if losses else None,
        pair=_pair(evidence, units) if general else None,
        estimates=estimates,
        improve=improve,
        measured=measured,
        generated=generated,
    )


def _of_kind(units: Array, families: Collection[int]) -> KindEffect | None:
    """The effect [F] on some of the families; None with fewer than two."""
    chosen = sorted(families)
    if len(chosen) < 2:
        return None
    mean, error, freedom = over_families(units[chosen][:, None, None])
    bounds = bounded(mean, error, freedom, level=0.025)
    return KindEffect(
        families=len(chosen),
        margins=float(mean[0, 0]),
        interval=(float(bounds.interval_low[0, 0]), float(bounds.interval_high[0, 0])),
    )


def _pair(evidence: Evidence, units: Array) -> tuple[tuple[str, str], float] | None:
    """Of the levels that were trained on every task; None where a race left only one."""
    left = np.flatnonzero(evidence.present)
    if len(left) < 2:
        return None
    (a, b), cost = portfolio(units[:, left][:, :, left])
    return (evidence.levels[left[a]], evidence.levels[left[b]]), cost
