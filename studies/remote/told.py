"""What a study has found so far, for a terminal and for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.record import StudyRecord
    from reports.search_record import SearchRecord
    from reports.verdict import Verdict


def told(record: StudyRecord | SearchRecord) -> tuple[list[str], dict[str, Any]]:
    """What a study has found: as lines, and for a program."""
    from reports import standing, verdicts
    from reports.search_record import SearchRecord
    from studies.searching import telling

    if isinstance(record, SearchRecord):
        return telling.concluded(record), telling.answer(record)
    now = standing(record)
    found = verdicts(record) if now.kind == "evidence" else ()
    lines = _table(found) if found else [f"no verdicts ({now.kind}): {now.reason}"]
    return lines, {"verdicts": [_verdict_plain(verdict) for verdict in found]}


def _table(verdicts: Sequence[Verdict]) -> list[str]:
    """The answers as lines: one row each, and a sentence below."""
    from reports import wording
    from reports.origins import kinds
    from reports.wording import counted

    lines = []
    for v in verdicts:
        lines += ["", f"{v.factor} @ {v.regime}: {v.recommended} ({v.label}, decided by {v.decided_by})"]
        lines.append(f"  {wording.answer(v)}")
        textbook = " or ".join(v.textbook) or "no such row"
        of = kinds(v.real_families, v.own_families, "of real data")
        counts = counted(v.blocks, "block"), counted(v.seeds, "seed")
        n = f"{counted(v.families, 'family')} ({of}), {', '.join(counts)}"
        lines.append(f"  textbook: {textbook}; n = {n}")
        if v.course:
            lines.append(f"  the row {wording.raced(v.course)}")
    return [*lines, ""] if lines else []


def _verdict_plain(verdict: Verdict) -> dict[str, Any]:
    names = ("factor", "regime", "recommended", "label", "decided_by", "textbook", "families")
    return {name: getattr(verdict, name) for name in names}
