"""Claims that are counted over trained members: how often a level trains, and exact statements.

Members are the tuned ones of the confirm phase, with what was recorded of their inside. Members of one task
are counted as if they were independent, which makes the intervals somewhat too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy

from reports.claims.outcome import ClaimEvidence, Outcome
from reports.evidence.claim import Claim
from reports.statistics import claim_rules
from trainers.evaluation import Evaluation

TRAINED = 0.5
"""A member has trained if its last training loss is below this share of the loss it could have had without
looking at x (method.md 1.1, OK%)."""

NEEDS = ("end.train_loss", "trivial_loss")

LEAST_P = 1e-9


def success_outcome(claim: Claim, study: ClaimEvidence) -> Outcome | None:
    """How often either of two levels trains; None where nothing was recorded.

    Each end of the interval of a success rate has half of the question's one-sided level.
    """
    rows, alpha = study.members, study.rows[claim.regimes[0]].question.alpha / study.looks
    of = {level: [row for row in rows if row.slot.level == level] for level in claim.levels}
    a, b = (_successes(of[level]) for level in claim.levels)
    if a is None or b is None:
        return None
    label = claim_rules.success_claim(a, b, alpha=alpha / 2)
    p = _least(lambda level: claim_rules.success_claim(a, b, alpha=level) == label)
    low, high = claim_rules.newcombe(a, b, alpha=0.025)
    return Outcome(
        label=label,
        p=1.0 if label == "insufficient" else p,
        sentence=(
            f"{claim.levels[0]} trained in {a[0]} of {a[1]} members, {claim.levels[1]} in {b[0]} of {b[1]}: "
            f"a difference of {100 * (a[0] / a[1] - b[0] / b[1]):+.0f} percentage points "
            f"[{100 * low:+.0f}, {100 * high:+.0f}]."
        ).replace("-", "−"),
        points=100 * (a[0] / a[1] - b[0] / b[1]),
    )


def _successes(rows: Sequence[Evaluation]) -> tuple[int, int] | None:
    """(members that trained, members); a diverged one did not."""
    trained = 0
    for row in rows:
        if row.status != "finished":
            continue
        if any(name not in row.diagnostics for name in NEEDS):
            return None
        last, trivial = (row.diagnostics[name] for name in NEEDS)
        trained += last < TRAINED * trivial
    return (trained, len(rows)) if rows else None


def _least(holds: Callable[[float], bool]) -> float:
    """The smallest one-sided level at which the label holds: its p-value."""
    low, high = math.log(LEAST_P), math.log(0.5)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(math.exp(middle)) else (middle, high)
    return math.exp(high)


def exact_outcome(claim: Claim, study: ClaimEvidence) -> Outcome | None:
    """Within the tolerance in 95 % of members, p by the binomial test; None where nothing was recorded."""
    assert claim.expected is not None and claim.tolerance is not None
    recorded = [row.diagnostics[claim.measure] for row in study.members if claim.measure in row.diagnostics]
    if not recorded:
        return None
    values = np.asarray(recorded, dtype=np.float64)
    label = claim_rules.exact_claim(values, claim.expected, claim.tolerance)
    inside = int((np.abs(values - claim.expected) <= claim.tolerance).sum())
    share = claim_rules.EXACT_SHARE
    confirmed = label == "confirmed"
    test = scipy.stats.binomtest(inside, len(values), share, alternative="greater" if confirmed else "less")
    return Outcome(
        label=label,
        p=float(test.pvalue),
        sentence=(
            f"{claim.measure} of {claim.levels[0]} lies within {claim.tolerance:g} of {claim.expected:g} in "
            f"{inside} of {len(values)} members; median {float(np.median(values)):.4g}."
        ),
    )
