"""Controls: comparisons whose answer is known, run inside every real study (method.md 2.13, item 11).

An A/A pair is one level twice, a placebo varies a number that nothing reads; both are salted by their arm's
name, because equal streams would make them equal by construction. A positive control is a level known to be
worse. A control that fails stamps the page INVALID: no verdict of the study stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from reports.claims import Bounds, Strings, states
from reports.compare import Array, block_effects, bounded, family_effects, over_families

ControlKind = Literal["a_a", "placebo", "positive"]
CONTROL_KINDS: tuple[ControlKind, ...] = get_args(ControlKind)

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

    def sentence(self) -> str:
        """In words."""
        expected = "no difference" if self.kind != "positive" else "the second level worse"
        found = {"better": "worse", "worse": "better"}.get(self.state, self.state)
        verdict = (
            "FAILED" if self.failed else "as it must be" if self.state != "unresolved" else "not decided"
        )
        return (
            f"{self.name} ({self.kind.replace('_', '/')}): expected {expected}, found its second level "
            f"{found} by {self.margins:+.2f} margins: {verdict}"
        )


def control_states(
    errors: Array, delta: Array, family: NDArray[np.int64], *, alpha: float, count: int
) -> Strings:
    """[...] the state of the first level against the second, at alpha / (20 * count).

    Args:
        errors: [..., T, R, 2] confirm errors of the control's two levels.
        delta: [T] margins.
        family: [T] at least two families.
        alpha: of the study.
        count: controls in the study.
    """
    units = family_effects(block_effects(errors, delta).mean(axis=-3), family)
    mean, error, freedom = over_families(units)
    found = bounded(mean, error, freedom, level=alpha / (STRICTNESS * count))
    at = (..., 1, 0)
    return states(
        Bounds(mean=found.mean[at], error=found.error[at], lower=found.lower[at], upper=found.upper[at])
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
) -> Control:
    """One control of one study.

    Args:
        name: what to call it.
        kind: which answer it must have.
        errors: [T, R, 2] confirm errors of its two levels.
        delta: [T] margins.
        family: [T] at least two families.
        alpha: of the study.
        count: controls in the study.
    """
    state = control_states(errors, delta, family, alpha=alpha, count=count)
    effect = family_effects(block_effects(errors, delta).mean(axis=-3), family).mean(axis=-3)
    return Control(
        name=name,
        kind=kind,
        margins=float(effect[1, 0]),
        state=str(state),
        failed=bool(fails(kind, state)),
    )


def invalid(controls: tuple[Control, ...]) -> str:
    """Why the study is INVALID; '' where every control held."""
    return "; ".join(control.sentence() for control in controls if control.failed)
