"""Why a worker of Ray ended before its answer came."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from reports.io.control_characters import harmless
from studies.execution.crash_traces import trace_of
from studies.execution.failure_kinds import kernel_kills, of_lost_start, of_lost_worker
from studies.execution.timeouts import PackTimeout


def error_text(error_file: str | None) -> str:
    """What Ray noted about a lost worker; '' where it noted nothing."""
    with suppress(OSError):
        return Path(error_file or "").read_text(encoding="utf-8")
    return ""


def cause_of_loss(lease: PackTimeout, text: str) -> tuple[str, str]:
    """Kind and cause of the failure of the pack that a worker had; `text` is Ray's."""
    if lease.begun is None:
        return of_lost_start(text)
    out_of_memory = kernel_kills() > lease.kernel_kills
    kind, cause = of_lost_worker(text, trace_of(lease.trace), killed_for_memory=out_of_memory)
    return kind, harmless(cause, 400)
