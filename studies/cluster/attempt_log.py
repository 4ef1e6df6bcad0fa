"""What happened to a study's packs, from the ledger alone: the log of runs that were no job of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from reports.io.control_characters import harmless
from studies.execution.failure_causes import first_line
from studies.ledger.rows import Attempt


def attempt_lines(attempts: Sequence[Attempt]) -> Iterator[str]:
    """One line for each attempt, oldest first; below a failure its traceback, indented."""
    for attempt in attempts:
        at = datetime.fromtimestamp(attempt.at_ms / 1000, UTC).strftime("%F %T UTC")
        took = f" in {attempt.seconds:.1f} s" if attempt.seconds else ""
        by = f" by {attempt.worker}" if attempt.worker else ""
        cause = first_line(attempt.cause)
        yield harmless(
            f"{at}  {attempt.kind:9}  pack {attempt.pack}{took}{by}{f': {cause}' if cause else ''}"
        )
        lines = [line for line in attempt.cause.splitlines() if line.strip()]
        for line in lines[1:] if lines and lines[0].strip() == cause else lines:
            yield harmless(f"    {line}")
