"""What Ray Tune leaves in memory, let go before Ray is left.

Tune's controller, its actors' callbacks and the frames of caught exceptions form reference cycles that hold
handles and object references of Ray. Python frees a cycle whenever it likes, and one that is freed while Ray
shuts down makes Ray's library end the process. So the cycles are broken where they are made; those of other
libraries and of the user's code are collected before Ray is left.
"""

from __future__ import annotations

import gc
import traceback
from typing import Any


def take_apart(controller: Any) -> None:
    """Empties a Tune controller that is done, its trials and what manages its actors.

    Args:
        controller: `ray.tune`'s, which nobody uses any more.
    """
    manager = getattr(controller, "_actor_manager", None)
    for trial in getattr(controller, "_trials", ()):
        vars(trial).clear()
    for part in (manager, controller):
        if part is not None:
            vars(part).clear()


def clear_frames(error: BaseException) -> None:
    """Forgets the local variables of all frames that an exception, and what led to it, came through.

    Frames that are still running keep theirs. Messages and places stay, for whoever shows the traceback.
    """
    ahead, seen = [error], set[int]()
    while ahead:
        one = ahead.pop()
        if id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            ahead += [more for more in (one.__cause__, one.__context__) if more is not None]


def collect() -> None:
    """Frees the cycles that are left: of libraries, and of the user's code."""
    gc.collect()
