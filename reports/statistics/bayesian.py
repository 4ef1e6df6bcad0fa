"""The Bayesian signed-rank test with a region of practical equivalence, as one more check of an effect.

Benavoli and others (2014, 2017). Families are weighed by a Dirichlet distribution, with one pseudo-family at
zero that has half a family's weight; an effect lies within one margin, beyond it, or beyond it on the other
side with the probability that averages of two families drawn by those weights fall there most often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.statistics.compare import Array

PRIOR = 0.5
"""Weight of the pseudo-family at zero, in families."""

DRAWS = 20_000
"""Of the weights: probabilities are exact to about 0.01."""


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    """Where the effect on a family lies, in margins; they add up to 1."""

    below: float
    """Below -1."""
    within: float
    """Between -1 and +1: no practical difference."""
    above: float
    """Above +1."""


def signed_rank(units: Array, *, seed: int = 0) -> Probabilities:
    """Probabilities for family effects `units` [F], in margins."""
    values = np.concatenate([[0.0], units])
    pairs = (values[:, None] + values) / 2
    weights = np.random.Generator(np.random.Philox(seed)).dirichlet([PRIOR, *np.ones(len(units))], DRAWS)
    shares = [
        ((weights @ region) * weights).sum(axis=1) for region in (pairs < -1, abs(pairs) <= 1, pairs > 1)
    ]
    first = np.argmax(shares, axis=0)
    below, within, above = (float((first == region).mean()) for region in range(3))
    return Probabilities(below=below, within=within, above=above)
