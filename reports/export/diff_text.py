"""What changed, as text for a terminal, Markdown for a pull request, or JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from reports.defaults.diff import KINDS, REFERENCES, Difference, Differences
from reports.export.markdown import escaped
from search_spaces.factor import unknown


def diff_text(found: Differences, format: str = "text") -> str:
    """The differences in 'text', 'markdown' or 'json'; ValueError for another format."""
    if format not in WRITERS:
        raise unknown("format of differences", format, WRITERS)
    return WRITERS[format](found)


def summary(found: Differences) -> str:
    """One sentence."""
    if not found.any:
        return f"Nothing changed: {_count(found.compared, 'row')} compared."
    moved = [d for d in found.rows if d.kind == "within_ties"]
    said = f"{_count(len(found.rows), 'row')} and {_count(len(found.numbers), 'number')} changed"
    if found.rows:
        said += f" ({len(moved)} of the rows within the tied set)"
    return f"{said}; {_count(found.compared, 'row')} compared."


SIGN = "A against B: test error of A minus that of B, in margins; positive: A is worse."


def _happened(found: Differences, difference: Difference) -> str:
    """What kind of difference it is; from a reference to a table nothing has changed."""
    if difference.kind == "evidence" and {found.before, found.after} & set(REFERENCES):
        return "the evidence says otherwise"
    return KINDS[difference.kind]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _text(found: Differences) -> str:
    lines = [f"{found.before} -> {found.after}"]
    for difference in (*found.rows, *found.numbers):
        lines.append(f"  {difference.what}: {difference.before} -> {difference.after}")
        lines.append(f"    {_happened(found, difference)}; {difference.because}")
    lines += [f"  note: {note}" for note in found.notes]
    lines += [SIGN] if found.rows else []
    return "\n".join([*lines, summary(found), ""])


def _markdown(found: Differences) -> str:
    lines = [f"### Defaults: {escaped(found.before)} → {escaped(found.after)}", "", escaped(summary(found))]
    for heading, differences in (("row", found.rows), ("number", found.numbers)):
        if differences:
            lines += ["", *_table(found, heading, differences)]
    if found.notes:
        lines += ["", *(f"- {escaped(note)}" for note in found.notes)]
    if found.rows:
        lines += ["", escaped(SIGN)]
    return "\n".join([*lines, ""])


def _table(found: Differences, heading: str, differences: Sequence[Difference]) -> list[str]:
    lines = [f"| {heading} | before | after | what happened | evidence |", "|---|---|---|---|---|"]
    for d in differences:
        cells = [d.what, d.before, d.after, _happened(found, d), d.because]
        lines.append("| " + " | ".join(map(escaped, cells)) + " |")
    return lines


def _json(found: Differences) -> str:
    return json.dumps({"changed": found.any, **asdict(found)}, indent=2, ensure_ascii=False) + "\n"


WRITERS: Mapping[str, Callable[[Differences], str]] = {"text": _text, "markdown": _markdown, "json": _json}
