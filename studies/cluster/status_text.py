"""What a study has found so far, for a terminal and for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.evidence.search_record import SearchRecord
    from reports.evidence.study_record import StudyRecord
    from reports.verdicts.model import Verdict
    from studies.run import RunSummary

MOST_GIVEN_UP = 10
"""Packs that are listed one by one."""


def status_text(record: StudyRecord | SearchRecord) -> tuple[list[str], dict[str, Any]]:
    """What a study has found: as lines, and for a program."""
    from reports import validity_status
    from reports.evidence.search_record import SearchRecord
    from reports.verdicts.verdict import verdicts
    from studies.search import summary as telling

    if isinstance(record, SearchRecord):
        return telling.concluded(record), telling.answer(record)
    now = validity_status(record)
    found = verdicts(record) if now.kind == "evidence" else ()
    lines = _table(record, found) if found else [f"no verdicts ({now.kind}): {now.reason}"]
    return lines, {"verdicts": [_verdict_plain(verdict) for verdict in found]}


def given_up_text(summary: RunSummary, logs: str) -> list[str]:
    """What a run could not train, and why: nothing where it trained all.

    Where all of it failed for one reason, that is said once.

    Args:
        summary: of the run.
        logs: the command that shows its tracebacks.
    """
    from reports.verdicts.sentences import counted

    if not summary.given_up:
        return []
    if summary.in_vain:
        (one, *_) = summary.given_up
        tried = f"{summary.attempts_now} attempts"
        lines = [f"error: all that was tried failed alike ({tried}): {one.cause}; {one.advice}"]
    else:
        lines = [f"error: given up: {one.sentence}" for one in summary.given_up[:MOST_GIVEN_UP]]
        if len(summary.given_up) > MOST_GIVEN_UP:
            lines.append(f"error: given up: {counted(len(summary.given_up) - MOST_GIVEN_UP, 'more pack')}")
    return [*lines, f"the tracebacks: {logs}"]


def _table(record: StudyRecord, verdicts: Sequence[Verdict]) -> list[str]:
    """The answers as lines: one row each, and a sentence below."""
    from reports.evidence.data_kinds import kinds
    from reports.evidence.effective_settings import what_ran
    from reports.verdicts import sentences
    from reports.verdicts.sentences import counted

    lines = []
    for v in verdicts:
        by = f"{v.label}, decided by {v.decided_by}{'' if v.trained else ', never trained here'}"
        lines += ["", f"{v.factor} @ {v.regime}: {v.recommended} ({by})"]
        lines.append(f"  {sentences.answer(v)}")
        textbook = " or ".join(v.textbook) or "no such row"
        of = kinds(v.real_families, v.own_families, "of real data")
        counts = counted(v.blocks, "block"), counted(v.seeds, "seed")
        n = f"{counted(v.families, 'family')} ({of}), {', '.join(counts)}"
        lines.append(f"  textbook: {textbook}; n = {n}")
        if v.course:
            lines.append(f"  the row {sentences.raced(v.course)}")
        lines += [f"  note: {note}" for note in what_ran(record, v.factor, v.regime)]
    return [*lines, ""] if lines else []


def _verdict_plain(verdict: Verdict) -> dict[str, Any]:
    names = ("factor", "regime", "recommended", "label", "decided_by", "textbook", "families")
    return {name: getattr(verdict, name) for name in names}
