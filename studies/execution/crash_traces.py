"""What a worker process leaves behind when a fault of its own ends it: how a crash is told from a kill."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def traced(file: str) -> Iterator[None]:
    """Within it, a segmentation fault or an abort is written to `file`, which is empty else.

    Args:
        file: in a folder of the main process; where that folder is on another machine, nothing is written.
    """
    try:
        text = open(file, "w", encoding="utf-8")  # noqa: SIM115 - closed below, and open while code may crash
    except OSError:
        yield
        return
    faulthandler.enable(file=text, all_threads=False)
    try:
        yield
    finally:
        faulthandler.enable(all_threads=False)  # on standard error again, as Ray has it
        text.close()


def trace_of(file: Path) -> str | None:
    """The fault and its innermost place in a line; '' where there was none; None if no file can be seen."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return None
    place = next((line for line in lines if line.startswith('File "')), "")
    return " ".join([*lines[:1], *([f"({place})"] if place else [])])
