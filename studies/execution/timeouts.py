"""How long a worker may take for a pack before it is believed to hang."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.packing import Pack

LEASE_SECONDS = 600.0
"""No worker is believed to hang sooner. GROUNDRULES_LEASE_SECONDS sets another limit."""
LEASE_FACTOR = 20.0
"""Times the pack's expected time: machines differ, and what else runs on them."""


def least_seconds() -> float:
    """The shortest lease; ValueError where the environment gives none that can be understood."""
    said = os.environ.get("GROUNDRULES_LEASE_SECONDS", str(LEASE_SECONDS))
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"GROUNDRULES_LEASE_SECONDS = {said} must be a number of seconds above 0")
    return seconds


@dataclass(kw_only=True)
class PackTimeout:
    """One pack in the hands of one worker."""

    pack: Pack
    seconds: float
    """How long the worker may take."""
    trace: Path
    """Where a fault of the worker is written, if it is on this machine."""
    kernel_kills: int
    """Processes that this machine's kernel had ended for memory when the pack was handed out."""
    handed: float
    """When: on the monotonic clock, as all times here."""
    begun: float | None = None
    """When its worker was ready; None: it is still waited for."""
    trial: Any = None
    """Tune's, once it is begun."""

    @property
    def over(self) -> bool:
        """Whether the worker has had its time."""
        return self.begun is not None and time.monotonic() - self.begun > self.seconds

    @property
    def spent(self) -> float:
        """Seconds since the worker began."""
        return time.monotonic() - (self.begun or self.handed)
