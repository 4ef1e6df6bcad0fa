"""Controls: comparisons whose answer is known, run inside every real study (method.md 2.13, item 11).

An A/A pair is one level twice, a placebo varies a number that nothing reads; both are salted by their arm's
name, because equal streams would make them equal by construction. A positive control is a level known to be
worse. A control that fails stamps the page INVALID: no verdict of the study holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.evidence.question import CONTROL_KINDS, ControlKind
from reports.statistics.claim_rules import EffectBounds, Strings, states
from reports.statistics.compare import Array, Unit, block_effects, compare, family_effects

__all__ = ["CONTROL_KINDS", "Control", "ControlKind", "control_states", "fails", "invalid", "judged"]

STRICTNESS = 20
"""Controls are judged at alpha / (20 * controls): a sound study is stamped INVALID in about 1 of 200."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control and how it came out."""

    name: str
    kind: ControlKind
    margins: float
    """How much worse its second level is."""
    state: str
    """Of the first level against the second: 'better', 'tied', 'worse' or 'unresolved'."""
    failed: bool
    families: int
    """Task families that it was run on."""

    def sentence(self) -> str:
        """In words."""
        expected = "no difference" if self.kind != "positive" else "the second level worse"
        state = {"better": "worse", "worse": "better"}.get(self.state, self.state)
        verdict = (
            "FAILED" if self.failed else "as it must be" if self.state != "unresolved" else "not decided"
        )
        return (
            f"{self.name} ({self.kind.replace('_', '/')}): expected {expected}, found its second level "
            f"{state} by {self.margins:+.2f} margins (n = {self.families} task families): {verdict}"
        )


def control_states(
    errors: Array,
    delta: Array,
    family: NDArray[np.int64],
    *,
    alpha: float,
    count: int,
    over: Unit = "families",
    overlap: Array | None = None,
) -> Strings:
    """[...] the state of the first level against the second, at alpha / (20 * count).

    Args:
        errors: [..., T, R, 2] confirm errors of the control's two levels.
        delta: [T] margins.
        family: [T] at least two families, over families.
        alpha: of the study.
        count: controls in the study.
        over: see `compare.Unit`.
        overlap: [T] test items per training item; needed over splits.
    """
    levels = errors.shape[-1]  # `compare` divides by their number
    pair = compare(
        errors, delta, family, alpha=levels * alpha / (STRICTNESS * count), over=over, overlap=overlap
    )
    at = (..., 1, 0)
    return states(
        EffectBounds(
            mean=pair.mean[at],
            error=pair.error[at],
            lower=pair.lower[at],
            upper=pair.upper[at],
        )
    )


def fails(kind: ControlKind, state: Strings) -> NDArray[np.bool_]:
    """[...] whether a control that came out as `state` invalidates its study.

    A/A and placebo: on 'better' or 'worse' only. A positive control, whose second level is known to be
    worse: when it is proved tied or better; not being decided is weakness, not error.
    """
    wrong = ("tied", "worse") if kind == "positive" else ("better", "worse")
    return np.isin(state, wrong)


def judged(
    name: str,
    kind: ControlKind,
    errors: Array,
    delta: Array,
    family: NDArray[np.int64],
    *,
    alpha: float,
    count: int,
    over: Unit = "families",
    overlap: Array | None = None,
) -> Control:
    """One control of one study.

    Args:
        name: what to call it.
        kind: which answer it must have.
        errors: [T, R, 2] confirm errors of its two levels.
        delta: [T] margins.
        family: [T] at least two families, over families.
        alpha: of the study.
        count: controls in the study.
        over: see `compare.Unit`.
        overlap: [T] test items per training item; needed over splits.
    """
    state = control_states(errors, delta, family, alpha=alpha, count=count, over=over, overlap=overlap)
    effect = family_effects(block_effects(errors, delta).mean(axis=-3), family).mean(axis=-3)
    return Control(
        name=name,
        kind=kind,
        margins=float(effect[1, 0]),
        state=str(state),
        failed=bool(fails(kind, state)),
        families=len(set(family.tolist())),
    )


def invalid(controls: tuple[Control, ...]) -> str:
    """Why the study is INVALID; '' where every control held."""
    return "; ".join(control.sentence() for control in controls if control.failed)
