"""Workers that cannot start, by an import that fails or a process that ends at once: a few end the run."""

from __future__ import annotations

import time
from collections.abc import Iterable

from studies.execution.failure_kinds import WorkersCannotStart, of_lost_start

ERRORS = 3
"""So many workers one after another that raised an exception in their start: the next one would, too."""
LOSSES = 10
"""So many that ended without one: taken away, or ended by something in their surroundings."""
NEVER_SECONDS = 600.0
"""On one machine a worker starts within seconds, or minutes; what has taken so long is not coming."""


class WorkerStarts:
    """How the starts of workers have gone since the last one that succeeded."""

    def __init__(self) -> None:
        self._errors = self._losses = 0
        self._cause = ""
        self._any = False

    def succeeded(self) -> None:
        """A worker is there."""
        self._errors = self._losses = 0
        self._any = True

    def failed(self, told: str) -> None:
        """A worker ended before it began.

        Args:
            told: what Ray says of it.
        """
        kind, self._cause = of_lost_start(told)
        self._errors += kind == "error"
        self._losses += 1

    def refuse_more(self, waiting: Iterable[float] = ()) -> None:
        """Ends the run where trying on is in vain.

        Args:
            waiting: since when, on the monotonic clock, workers of this machine have been waited for.

        Raises:
            WorkersCannotStart: with the cause of the last failure in a line.
        """
        if self._errors >= ERRORS or self._losses >= LOSSES:
            raise WorkersCannotStart(f"{self._losses} workers in a row failed; {self._cause}")
        if not self._any and time.monotonic() - min(waiting, default=time.monotonic()) > NEVER_SECONDS:
            raise WorkersCannotStart(f"no worker has started within {NEVER_SECONDS:.0f} s")
