"""Whether a study may speak: the guards first, then its own controls (method.md 2.13, item 11)."""

from __future__ import annotations

from collections import defaultdict

from reports.evidence.arrays import Evidence, gather
from reports.evidence.control_arms import Control, invalid, judged
from reports.evidence.fairness_checks import EvidenceStatus, unjudged
from reports.evidence.fairness_checks import evidence_status as guarded
from reports.evidence.study_record import StudyRecord, once


@once
def validity_status(record: StudyRecord) -> EvidenceStatus:
    """As `fairness_checks.evidence_status`, and 'invalid' where a control failed; never raises.

    A control whose two arms trained alike to the last bit is refused: it could not have failed.
    """
    now = guarded(record)
    if now.kind != "evidence":
        return now
    if why := unsalted(record):
        return EvidenceStatus(kind="refused", reason=why)
    if why := invalid(controls(record)):
        return EvidenceStatus(kind="invalid", reason=why)
    return now


def unsalted(record: StudyRecord) -> str:
    """Which A/A pair or placebo has arms with the same streams; '' where none has.

    Streams are not stored with an evaluation, but shared ones show: the same slot but for the arm, the same
    numbers, and the same losses to the last bit. Networks that learned nothing are passed.
    """
    for question in record.questions:
        if question.control not in ("a_a", "placebo"):
            continue
        for regime in question.regimes:
            seen: dict[tuple[object, ...], set[str]] = defaultdict(set)
            for row in record.of(question.factor, regime):
                s, losses = row.slot, tuple(point.train_loss for point in row.curve)
                if row.status != "finished" or len(set(losses)) < 3:
                    continue
                numbers = tuple(sorted(row.config.numbers.items()))
                seen[s.task, s.block, s.phase, s.index, numbers, losses].add(s.level)
            twins = next((arms for arms in seen.values() if len(arms) > 1), None)
            if twins:
                both = " and ".join(sorted(twins))
                return (
                    f"the control {question.factor} in {regime} could not fail: {both} trained alike to the "
                    "last bit, so their streams are not salted by the arm's name"
                )
    return ""


@once
def controls(record: StudyRecord) -> tuple[Control, ...]:
    """Every control of a study whose guards hold, one per question and regime; () where it has none.

    A positive control names its known-better level first. Each is judged on its own tasks and margins.
    """
    if not any(question.control for question in record.questions):
        return ()
    control_rows = [evidence for evidence in gather(record) if evidence.question.control]
    return tuple(_one(evidence, count=len(control_rows)) for evidence in control_rows)


def answering(record: StudyRecord) -> tuple[Evidence, ...]:
    """The evidence of every row that is a question, not a control."""
    return tuple(evidence for evidence in gather(record) if not evidence.question.control)


def unanswered(record: StudyRecord) -> dict[tuple[str, str], tuple[str, ...]]:
    """As `fairness_checks.unjudged`, of the rows that are questions."""
    answered = {question.factor for question in record.answered}
    return {row: why for row, why in unjudged(record).items() if row[0] in answered}


def _one(evidence: Evidence, *, count: int) -> Control:
    question = evidence.question
    assert question.control
    first, second = (evidence.levels.index(level) for level in question.levels)
    return judged(
        f"{question.factor} in {evidence.regime}",
        question.control,
        evidence.tuned[..., [first, second]],
        evidence.delta,
        evidence.family,
        alpha=question.alpha,
        count=count,
        over=evidence.over,
        overlap=evidence.overlap,
    )
