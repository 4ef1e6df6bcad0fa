"""Looks that a study registers beyond its own families, for studies that extend it."""

from __future__ import annotations

from reports.evidence.study_record import StudyRecord


def registered(record: StudyRecord) -> str:
    """Which of its looks this is, of a study that may be extended or extends another as it was planned.

    '' of any other study, and of an extension that nobody had planned.
    """
    budget, extends = record.budget, record.extends
    if not (budget.registered or extends) or (extends and extends.unregistered):
        return ""
    looks = budget.looks
    return (
        f"look {looks.index(budget.families) + 1} of {len(looks)}, registered: after "
        f"{', '.join(map(str, looks[:-1]))} and {looks[-1]} task families, alpha spread over all of them"
    )
