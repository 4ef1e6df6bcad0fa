"""How likely a row settles, and how many task families it would take, by the real decision rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reports.evidence.arrays import Evidence
from reports.statistics.compare import (
    FEW_FAMILIES,
    Array,
    block_effects,
    bounded,
    family_effects,
    over_families,
)
from reports.statistics.decision import labels
from reports.statistics.racing import race

MOST_FAMILIES = 200
"""Beyond this many families an answer is called out of reach."""

SETTLED = 0.8
"""The chance of settling at which a number of families is called enough."""

CLEAR = 2.0
"""Margins by which a "clear winner" leads in the simulated studies."""


def settle_probability(
    levels: int,
    families: int,
    blocks: int,
    *,
    tau: float,
    block_sd: float,
    looks: Sequence[int] | int = 1,
    alpha: float = 0.05,
    studies: int = 400,
    overlap: float = 5 / 12,
) -> dict[str, float]:
    """The chance that a row ends with a level proved within one margin of all others.

    Simulates whole studies of one task per family, errors in margins:
    y[t, r, l] = truth[l] + N(0, tau)[t, l] + N(0, block_sd)[t, r, l].

    Args:
        levels: Levels compared, at least 2.
        families: Task families at the last look; fewer than 8 are judged "on these tasks".
        blocks: Data splits of each task.
        tau: SD between tasks of a level's effect, in margins.
        block_sd: SD between blocks of a level's mean over confirm seeds, in margins.
        looks: Families after which the data may be looked at, or how many looks there are.
        alpha: Accepted chance of a wrong recommendation.
        studies: Simulated studies per scenario; 400 give +-4 points.
        overlap: Test items per training item (only for fewer than 8 families).

    Returns:
        'equal': all levels alike; 'clear_winner': the costliest is 2 margins better than the rest;
        'wrong': the chance of proving a level that is exactly one margin worse than the costliest (the
        rule keeps this below alpha).
    """
    if levels < 2 or families < 1 or blocks < 1:
        raise ValueError(f"levels {levels}, families {families}, blocks {blocks}: need at least 2, 1 and 1")
    ends = [looks_at for looks_at in ([] if isinstance(looks, int) else looks) if looks_at < families]
    count = looks if isinstance(looks, int) else max(1, len(looks))
    noise = np.random.Generator(np.random.Philox(20))
    between = tau * noise.standard_normal((studies, families, 1, levels))
    within = block_sd * noise.standard_normal((studies, families, blocks, levels))

    def proved(lead: float) -> NDArray[np.bool_]:
        """[studies, L]: admissible where the race stopped; the costliest level leads by `lead` margins."""
        errors = between + within
        errors[..., -1] -= lead
        return race(
            errors,
            np.ones(families),
            np.arange(families),
            looks=(*ends, families),
            alpha=alpha,
            planned=count,
            overlap=np.full(families, overlap),
        ).admissible

    return {
        "equal": float(proved(0.0).any(axis=-1).mean()),
        "clear_winner": float(proved(CLEAR).any(axis=-1).mean()),
        "wrong": float(proved(1.0)[:, :-1].any(axis=-1).mean()),
    }


def families_needed(evidence: Evidence, *, looks: int, draws: int = 300) -> int | None:
    """About how many families would settle this row: 80 % of bootstrapped studies get a label.

    Families are drawn with replacement from the observed ones (deviations widened by sqrt(F / (F - 1)),
    which a resample would otherwise understate) and judged by the real rule. Levels that a race dropped stay
    out of it.

    Returns:
        The number of families, or None: more than 200, or fewer than 3 observed families to draw from.
    """
    observed = family_effects(block_effects(evidence.tuned, evidence.delta).mean(axis=1), evidence.family)[
        :, evidence.present
    ][:, :, evidence.present]  # [F, L, L]
    count = len(observed)
    if count < 3:
        return None
    centre = observed.mean(axis=0)
    widened = centre + (observed - centre) * np.sqrt(count / (count - 1))
    drawn = np.random.Generator(np.random.Philox(21)).integers(count, size=(draws, MOST_FAMILIES))
    for families in _candidates(max(FEW_FAMILIES, count + 1)):
        if _share_settled(widened[drawn[:, :families]], evidence, looks) >= SETTLED:
            return families
    return None


def _share_settled(studies: Array, evidence: Evidence, looks: int) -> float:
    """Of simulated studies [S, F, L, L], the share whose label is not 'insufficient'."""
    question = evidence.question
    mean, error, freedom = over_families(studies)
    comparison = bounded(mean, error, freedom, level=question.alpha / (len(question.levels) * looks))
    textbook = evidence.textbook()[evidence.present]
    # With the textbook's levels dropped, any level that is proved good enough settles the row.
    listed = evidence.listed and bool(textbook.any() or evidence.present.all())
    settled = labels(comparison.lower, comparison.upper, textbook, listed=listed)
    return float((settled != "insufficient").mean())


def _candidates(first: int) -> list[int]:
    """From `first` to 200 in steps of about a tenth: more exact than the answer can be."""
    numbers = [first]
    while numbers[-1] < MOST_FAMILIES:
        numbers.append(min(MOST_FAMILIES, numbers[-1] + max(1, numbers[-1] // 10)))
    return [number for number in numbers if number <= MOST_FAMILIES]
