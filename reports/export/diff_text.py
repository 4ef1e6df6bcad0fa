"""What changed, as text for a terminal, Markdown for a pull request, or JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from reports.defaults.diff import KINDS, REFERENCES, Difference, Differences
from reports.export.markdown import escaped
from reports.verdicts.sentences import counted
from search_spaces.factor import unknown


def diff_text(differences: Differences, format: str = "text") -> str:
    """The differences in 'text', 'markdown' or 'json'; ValueError for another format."""
    if format not in WRITERS:
        raise unknown("format of differences", format, WRITERS)
    return WRITERS[format](differences)


def summary(differences: Differences) -> str:
    """One sentence."""
    if not differences.any:
        return f"Nothing changed: {counted(differences.compared, 'row')} compared."
    moved = [d for d in differences.rows if d.kind == "within_ties"]
    text = (
        f"{counted(len(differences.rows), 'row')} and {counted(len(differences.numbers), 'number')} changed"
    )
    if differences.rows:
        text += f" ({len(moved)} of the rows within the tied set)"
    return f"{text}; {counted(differences.compared, 'row')} compared."


SIGN = "A against B: test error of A minus that of B, in margins; positive: A is worse."


def _happened(differences: Differences, difference: Difference) -> str:
    """What kind of difference it is; from a reference to a table nothing has changed."""
    if difference.kind == "evidence" and {differences.before, differences.after} & set(REFERENCES):
        return "the evidence says otherwise"
    return KINDS[difference.kind]


def _text(differences: Differences) -> str:
    lines = [f"{differences.before} -> {differences.after}"]
    for difference in (*differences.rows, *differences.numbers):
        lines.append(f"  {difference.what}: {difference.before} -> {difference.after}")
        lines.append(f"    {_happened(differences, difference)}; {difference.because}")
    lines += [f"  note: {note}" for note in differences.notes]
    lines += [SIGN] if differences.rows else []
    return "\n".join([*lines, summary(differences), ""])


def _markdown(diff: Differences) -> str:
    lines = [f"### Defaults: {escaped(diff.before)} → {escaped(diff.after)}", "", escaped(summary(diff))]
    for heading, differences in (("row", diff.rows), ("number", diff.numbers)):
        if differences:
            lines += ["", *_table(diff, heading, differences)]
    if diff.notes:
        lines += ["", *(f"- {escaped(note)}" for note in diff.notes)]
    if diff.rows:
        lines += ["", escaped(SIGN)]
    return "\n".join([*lines, ""])


def _table(changes: Differences, heading: str, differences: Sequence[Difference]) -> list[str]:
    lines = [f"| {heading} | before | after | what happened | evidence |", "|---|---|---|---|---|"]
    for d in differences:
        cells = [d.what, d.before, d.after, _happened(changes, d), d.because]
        lines.append("| " + " | ".join(map(escaped, cells)) + " |")
    return lines


def _json(diff: Differences) -> str:
    return json.dumps({"changed": diff.any, **asdict(diff)}, indent=2, ensure_ascii=False) + "\n"


WRITERS: Mapping[str, Callable[[Differences], str]] = {"text": _text, "markdown": _markdown, "json": _json}
