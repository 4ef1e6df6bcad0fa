"""One row of the table under other analyses, side by side: what each would recommend, and its effect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.evidence.arrays import Evidence, from_rows
from reports.evidence.study_record import StudyRecord
from reports.statistics.bayesian import signed_rank
from reports.statistics.compare import block_effects, family_effects
from reports.verdicts.model import Verdict
from reports.verdicts.robustness import KindEffect, Robustness
from reports.verdicts.sentences import LABELS, signed
from reports.verdicts.verdict import Decision, decide

LAST = "last"
"""The read-out after the last step, whatever happened on validation data."""


@dataclass(frozen=True, kw_only=True)
class SensitivityAnalysis:
    """One analysis."""

    what: str
    recommended: str
    """'' where it only estimates the effect."""
    label: str
    effect: str
    """Of the headline's rival against the recommended level, in margins; '' where there is none."""
    agrees: bool = True
    """It recommends what the page does."""


def sensitivity(
    record: StudyRecord, evidence: Evidence, verdict: Verdict, checks: Robustness
) -> tuple[SensitivityAnalysis, ...]:
    """The analyses that were fixed before the study ran; the first is the one that decides."""
    rows = [_decided("as judged", evidence, verdict, decide(evidence, looks=record.budget.looks))]
    for what, decision in (
        ("margins half as wide", checks.half_margins),
        ("margins twice as wide", checks.double_margins),
        ("at the library’s defaults (k = 1)", checks.untuned),
    ):
        rows.append(_decided(what, evidence, verdict, decision))
    last = last_step(record, evidence)
    if last is not None:
        what = "error after the last step, not at the best validation (no early stopping)"
        rows.append(_decided(what, last, verdict, decide(last, looks=record.budget.looks)))
    for what, part in (("measured data alone", checks.measured), ("generated data alone", checks.generated)):
        if part is not None:
            rows.append(
                SensitivityAnalysis(
                    what=f"{what}, {part.families} families", recommended="", label="", effect=_said(part)
                )
            )
    if checks.estimates is not None:
        bca = checks.estimates.bca
        rows += [
            SensitivityAnalysis(what=what, recommended="", label="", effect=evidence_used)
            for what, evidence_used in (
                ("median over families", signed(checks.estimates.median)),
                ("mean of the middle half of the families", signed(checks.estimates.iqm)),
                (
                    "mean, bootstrapped over families (BCa)",
                    f"{signed(checks.estimates.mean)} [{signed(bca[0])}, {signed(bca[1])}]",
                ),
            )
        ]
    head = verdict.headline
    if head is not None and evidence.over == "families":
        i, j = evidence.levels.index(head.level), evidence.levels.index(head.against)
        effects = block_effects(evidence.tuned[..., [i, j]], evidence.delta).mean(axis=1)
        chances = signed_rank(family_effects(effects, evidence.family)[:, 0, 1])
        rows.append(
            SensitivityAnalysis(
                what="Bayesian signed-rank test with one margin as equivalence",
                recommended="",
                label="",
                effect=f"a margin or more worse {chances.above:.0%}, within {chances.within:.0%}, "
                f"better {chances.below:.0%}",
            )
        )
    return tuple(rows)


def last_step(record: StudyRecord, evidence: Evidence) -> Evidence | None:
    """The row from the errors after the last step; None where a confirm run has no such read-out."""
    rows = [
        row
        for row in record.of(evidence.question.factor, evidence.regime)
        if row.slot.phase == "confirm" and row.slot.task in evidence.tasks
    ]
    if any(row.status == "finished" and LAST not in (row.test or {}) for row in rows):
        return None
    return from_rows(record, evidence.question, evidence.regime, rows, read_out=LAST)


def _decided(what: str, evidence: Evidence, verdict: Verdict, decision: Decision) -> SensitivityAnalysis:
    head, effect = verdict.headline, ""
    if head is not None:
        at = evidence.levels.index(head.level), evidence.levels.index(head.against)
        mean, low, high = (
            float(part[at])
            for part in (
                decision.comparison.mean,
                decision.comparison.interval_low,
                decision.comparison.interval_high,
            )
        )
        effect = f"{signed(mean)} [{signed(low)}, {signed(high)}]" if np.isfinite(low) else signed(mean)
    return SensitivityAnalysis(
        what=what,
        recommended=decision.recommended + (" (fallback)" if decision.decided_by == "fallback" else ""),
        label=LABELS[decision.label],
        effect=effect,
        agrees=decision.recommended == verdict.recommended,
    )


def _said(part: KindEffect) -> str:
    low, high = part.interval
    return f"{signed(part.margins)} [{signed(low)}, {signed(high)}]"
