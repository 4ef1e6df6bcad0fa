"""One ledger of claims, one rate of false verdicts: Benjamini and Hochberg over all of them (method.md 2.9).

Each claim brings one confirmatory p-value for the state that it is about to be given. A verdict other than
'insufficient' also needs an adjusted p of at most 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from reports.statistics.claim_rules import EffectBounds, Strings
from reports.statistics.compare import Array
from reports.statistics.decision import Label

FALSE_DISCOVERIES = 0.05
"""Accepted share of false verdicts among those given."""


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """One claim in the ledger, after the correction."""

    label: Label
    p: float
    hochberg: float
    """Adjusted by Benjamini and Hochberg: what decides."""
    yekutieli: float
    """Adjusted by Benjamini and Yekutieli, who allow any dependence: claims share runs."""
    withdrawn: bool
    """It had a verdict of its own, and lost it here."""


def state_p(u: EffectBounds, state: Strings, freedom: Array | float) -> Array:
    """[...] p-value of the state that a pair is given.

    'better' and 'worse': one-sided superiority. 'tied': two one-sided tests (TOST), the larger p.
    'unresolved': 1.

    Args:
        u: effect and standard error; A better where above 0.
        state: from `claim_rules.states`.
        freedom: degrees of freedom.
    """
    superior = _tail(u.mean, u.error, freedom)
    inferior = _tail(-u.mean, u.error, freedom)
    equivalent = np.maximum(_tail(u.mean + 1, u.error, freedom), _tail(1 - u.mean, u.error, freedom))
    p: Array = np.select(
        [state == "better", state == "worse", state == "tied"], [superior, inferior, equivalent], default=1.0
    )
    return p


def adjusted(p: Array, method: Literal["bh", "by"] = "bh") -> Array:
    """[..., C] adjusted p-values over the claims of each ledger (last axis)."""
    return np.asarray(scipy.stats.false_discovery_control(p, axis=-1, method=method)).astype(np.float64)


def adjudicate(labels: Sequence[Label], p: Sequence[float]) -> tuple[Adjusted, ...]:
    """The labels that remain after correction for all claims of the ledger.

    Every claim that was tested enters, also those without a verdict of their own: leaving them out would
    make the others look better than they are.
    """
    if len(labels) != len(p):
        raise ValueError(f"{len(labels)} labels and {len(p)} p-values: each claim brings one of each")
    if not labels:
        return ()
    values = np.asarray(p, dtype=float)
    results = []
    for label, own, hochberg, yekutieli in zip(
        labels, p, adjusted(values), adjusted(values, "by"), strict=True
    ):
        stands = hochberg <= FALSE_DISCOVERIES
        results.append(
            Adjusted(
                label=label if stands else "insufficient",
                p=float(own),
                hochberg=float(hochberg),
                yekutieli=float(yekutieli),
                withdrawn=not stands and label != "insufficient",
            )
        )
    return tuple(results)


def _tail(mean: Array, error: Array, freedom: Array | float) -> Array:
    """P(T >= mean / error); a difference without any spread is certain."""
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(error > 0, mean / error, np.where(mean > 0, np.inf, -np.inf))
    return np.asarray(scipy.special.stdtr(freedom, -statistic), dtype=np.float64)
