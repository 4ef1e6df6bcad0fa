"""Whether a study may speak: the guards first, then its own controls (method.md 2.13, item 11)."""

from __future__ import annotations

from reports.controls import Control, invalid, judged
from reports.evidence import Evidence, gather
from reports.guards import Standing
from reports.guards import standing as guarded
from reports.record import StudyRecord


def standing(record: StudyRecord) -> Standing:
    """As `guards.standing`, and 'invalid' where a control failed; never raises."""
    now = guarded(record)
    if now.kind == "evidence" and (why := invalid(controls(record))):
        return Standing(kind="invalid", reason=why)
    return now


def controls(record: StudyRecord) -> tuple[Control, ...]:
    """Every control of a study whose guards hold, one per question and regime; () where it has none.

    A positive control names its known-better level first. Each is judged on its own tasks and margins.
    """
    if not any(question.control for question in record.questions):
        return ()
    found = [evidence for evidence in gather(record) if evidence.question.control]
    return tuple(_one(evidence, count=len(found)) for evidence in found)


def answering(record: StudyRecord) -> tuple[Evidence, ...]:
    """The evidence of every row that is a question, not a control."""
    return tuple(evidence for evidence in gather(record) if not evidence.question.control)


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
    )
