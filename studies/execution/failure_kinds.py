"""Why a pack was not trained: causes told apart, because each is answered differently.

A member that diverged is no failure but a result. What was taken away is redone whole, and does not count
against a pack's attempts; what did not fit into memory is tried again in halves; a worker that answers no
more is ended; and what fails by itself is looked for, member by member (`studies.execution.retries`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from reports.io.control_characters import harmless

if TYPE_CHECKING:
    from studies.ledger.ledger import Attempt

Kind = Literal["preempted", "memory", "timeout", "crash", "error"]
"""preempted: the worker's process or machine was taken away from outside. memory: what was asked for did not
fit. timeout: no answer within the lease. crash: the process died of a fault of its own. error: an
exception."""
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANING: dict[str, str] = {
    "preempted": "workers taken away",
    "memory": "out of memory",
    "timeout": "no answer in time",
    "crash": "crashed",
    "error": "raised an error",
}


class ClusterLost(RuntimeError):
    """Ray's own processes have ended; what the ledger holds is kept."""


class WorkersCannotStart(RuntimeError):
    """Worker after worker has failed before it could train; what the ledger holds is kept."""


NODE_LOST = re.compile(
    r"node (?:was|has been|is) (?:terminated|dead|drained|removed|preempted)|NodeDiedError|node died"
    r"|AUTOSCALER_DRAIN|missed too many heartbeats|raylet .{0,40}(?:crash|die|exit)",
    re.IGNORECASE,
)
RAISED = re.compile(r"ray::\w+\.\w+\(\)[^\n]*\n.*?^\s*File \"", re.DOTALL | re.MULTILINE)
"""How Ray tells an exception in a worker: our own code raised it, outside of a training."""
PLACE = re.compile(r'^\s*File "(.*)", line (\d+)')
OUT_OF_MEMORY = re.compile(r"running low on memory|OutOfMemoryError|memory pressure", re.IGNORECASE)
TOO_LONG = 400
"""Characters of a cause that are kept."""


def of_exception(error: BaseException) -> Kind:
    """The kind of what a training raised."""
    import torch

    if isinstance(error, ValueError) and error.__cause__ is not None:  # told in other words on the way
        error = error.__cause__
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "memory"
    # Torch's allocators for the CPU raise plain RuntimeErrors.
    asked = isinstance(error, RuntimeError) and "not enough memory" in str(error).lower()
    return "memory" if asked or "can't allocate memory" in str(error).lower() else "error"


def of_lost_worker(told: str, trace: str | None, *, killed_for_memory: bool) -> tuple[Kind, str]:
    """Why a worker process died, and the same in one line.

    Args:
        told: what Ray says of it.
        trace: what the process wrote when a fault of its own ended it; '' where it had no time to write,
            as after kill -9; None where its file cannot be seen from here.
        killed_for_memory: this machine's kernel has killed a process for memory meanwhile.
    """
    text = " ".join(told.split())
    detail = text.partition("Worker exit detail: ")[2] or text
    if OUT_OF_MEMORY.search(text.partition("Some common causes")[0]):
        return "memory", _cut(f"the worker was ended because its machine ran out of memory: {detail}")
    if RAISED.search(told):
        return "error", _cut(f"the worker raised: {_exception(told)}")
    if NODE_LOST.search(text):
        return "preempted", _cut(f"the worker's machine was lost: {detail}")
    if trace:
        return "crash", _cut(f"the worker process died: {' '.join(trace.split())}")
    if killed_for_memory:
        return "memory", "the kernel ended the worker because its machine ran out of memory"
    if trace is not None:
        return "preempted", "the worker process was ended from outside (it left no trace of a fault)"
    return "crash", _cut(f"the worker process died: {detail or 'no reason given'}")


def of_lost_start(told: str) -> tuple[Kind, str]:
    """Why a worker ended before it was given anything, and the same in one line.

    Args:
        told: what Ray says of it. An exception is an error of ours, or of the surroundings: it comes again.
    """
    if RAISED.search(told):
        return "error", _cut(f"the worker could not start: {_exception(told)}")
    text = " ".join(told.split())
    detail = text.partition("Worker exit detail: ")[2].partition("Some common causes")[0].strip()
    return "preempted", _cut(f"the worker ended before it began: {detail or text or 'no reason given'}")


def _exception(told: str) -> str:
    """The exception that Ray tells with its traceback, in one line, and the innermost place."""
    lines = told.strip().splitlines()
    last = max((i for i, line in enumerate(lines) if PLACE.match(line)), default=-1)
    # Below a place stand its source and a mark, indented; the exception is not, and may have many lines.
    begin = next((i for i in range(last + 1, len(lines)) if lines[i][:1].strip()), len(lines) - 1)
    text = " ".join(" ".join(lines[begin:]).split())
    place = PLACE.match(lines[last]) if last >= 0 else None
    return f"{text} ({Path(place[1]).name}, line {place[2]})" if place else text


def kernel_kills() -> int:
    """How many processes this machine's kernel has ended for memory since it was started; 0 if unknown."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def by_kind(attempts: Iterable[Attempt]) -> Mapping[str, int]:
    """Kind -> failed attempts, for the kinds that occurred."""
    counts = Counter(attempt.kind for attempt in attempts)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def sentence(counts: Mapping[str, int]) -> str:
    """'failed attempts: 2 workers taken away, 1 out of memory'; '' where there were none."""
    said = ", ".join(f"{count} {MEANING[kind]}" for kind, count in counts.items())
    return f"failed attempts: {said}" if said else ""


def _cut(text: str) -> str:
    return harmless(text, TOO_LONG)
