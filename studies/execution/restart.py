"""The program's last way out of a wait that nothing ends: the same command again, in its own place.

Where Ray's head dies while the program asks it something, the call comes back neither with an answer nor
with an error: a minute later Ray ends the process. The ledger makes the same command a resume, so the
program begins it itself, under the same process id and with the same standard streams.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

log = logging.getLogger("groundrules.workers")

MOST: Final = 3
"""So often for one command; then Ray has its way."""
_COUNT: Final = "GROUNDRULES_BEGUN_ANEW"
_allowed = False
_at_work = False


def allow() -> None:
    """This process is the program, and nobody else's who has called it."""
    global _allowed
    _allowed = True


@contextmanager
def at_work() -> Iterator[None]:
    """Only within: who has been interrupted is on the way out, and may take its time."""
    global _at_work
    _at_work = True
    try:
        yield
    finally:
        _at_work = False


def can_restart() -> bool:
    """Whether `restart` would."""
    return _allowed and _at_work and int(os.environ.get(_COUNT, "0")) < MOST


def restart(cause: str) -> None:
    """Replaces the process; what is committed stays, all else ends as after a kill. Does not return.

    Args:
        cause: in a line, for the user.
    """
    assert can_restart()
    log.warning("%s; the command begins again", cause)
    os.environ[_COUNT] = str(int(os.environ.get(_COUNT, "0")) + 1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
