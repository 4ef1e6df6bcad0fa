"""What `groundrules scan-ranges` says at its end: for a reader, and for a program."""

from __future__ import annotations

from typing import Any

from reports.evidence.range_scan_record import SCOPE, RangeScanRecord, span
from reports.io.dataclass_files import to_dict


def lines(record: RangeScanRecord) -> list[str]:
    """For a reader."""
    text = [f"{record.name}: {SCOPE}"]
    for one in record.searched:
        e = one.edge
        share = "" if one.importance is None else f", importance {one.importance:.0%}"
        flag = "  FLAGGED" if e.flagged else ""
        least, median, most = one.best
        text.append(
            f"  {e.factor}@{e.regime} {e.level}, {e.number}: best points {least:.3g} to {most:.3g} (median "
            f"{median:.3g}) of {one.low:.3g} to {one.high:.3g}; at the ends {e.low} low, {e.high} high of "
            f"{e.winners}{share}{flag}"
        )
    text += [f"  {record.rule}", "SDs, in margins:"]
    text += [f"  {m.task} in {m.regime}: {m.seed_sd / m.delta:.2g} over 5 seeds" for m in record.margins]
    for row in record.scatter:
        over = "unknown" if row.task_sd is None else f"{row.task_sd:.2g}"
        text.append(
            f"  {row.factor}@{row.regime}: {over} of a level over {row.tasks} tasks, {row.point_sd:.2g} over "
            "the points of a level"
        )
    text.append("ranges:")
    for number in record.proposals:
        unchanged = f"{span(number.old)}, as it is"
        change = f"{span(number.old)} -> {span(number.new)}" if number.changed else unchanged
        text.append(f"  {number.number}: {change}")
        text += [f"    {reason}" for reason in number.why.split("; ") if reason]
    return [*text, "for the study file:", "", *record.yaml.splitlines(), ""]


def plain(record: RangeScanRecord) -> dict[str, Any]:
    """For a program."""
    return {**to_dict(record), "complete": record.complete, "yaml": record.yaml}
