"""The cause of a failed attempt in one line: the exception, and where in the user's file it was raised."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from types import FrameType

from reports.io.control_characters import harmless
from studies.site import masked

TOO_LONG = 400
"""Characters of an exception's message that are kept: of a longer one, its beginning and its end."""
ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / package}/" for package in ("search_spaces", "trainers", "reports", "studies"))

_PLACE = re.compile(r"\(([^()]+, line \d+)\)$")
ADVICE: dict[str, str] = {
    "error": "it failed in every attempt: trying again does not help before that is mended",
    "crash": "it failed in every attempt: trying again does not help before that is mended",
    "memory": "trying again helps only with more free memory: fewer --workers, or a smaller pack_size",
    "timeout": "trying again helps if the machine was busy, or with a longer GROUNDRULES_LEASE_SECONDS",
    "preempted": "trying again can help: its workers were taken away from outside",
}
"""Kind of failure (`studies.execution.failure_kinds.KINDS`) -> whether the same command again can help."""
UNLIKE = "its attempts failed in different ways: trying again can help"


def cause_of(error: BaseException) -> str:
    """An exception in one line: type, message, and the innermost place in the user's file, else in ours."""
    error = _origin(error)
    name = type(error).__name__
    message = harmless(masked(_message(error)), TOO_LONG)
    place = _place(error)
    return (f"{name}: {message}" if message else name) + (f" ({place})" if place else "")


def whole_traceback(error: BaseException) -> str:
    """The whole traceback, for the log; without secrets, and with nothing in it that acts on a terminal."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return harmless(masked("".join(lines)), 10 * TOO_LONG)


def first_line(cause: str) -> str:
    """A recorded cause in one line: what stands before its traceback.

    Ledgers of earlier versions hold a bare traceback, whose last line is the exception.
    """
    lines = [line for line in cause.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1].strip() if lines[0].startswith("Traceback (most recent call last)") else lines[0].strip()


def reason_of(kind: str, cause: str) -> str:
    """What failures for the same reason have in common: the type of the exception, and its place.

    A message may name other shapes or numbers every time.
    """
    line = first_line(cause)
    place = _PLACE.search(line)
    if kind == "error" and place:
        return f"{line.partition(':')[0].partition(' (')[0]} ({place[1]})"
    return f"{kind}: {re.sub(r'[0-9]+', '#', line)}"


def _origin(error: BaseException) -> BaseException:
    """What the user's code raised, where an error of ours reports it: in and outside a trial it is alike."""
    cause = error.__cause__
    if cause is None or _in_users(error) or not _in_users(cause):
        return error
    return cause


def _in_users(error: BaseException) -> bool:
    return any(_is_users(frame) for frame, _ in traceback.walk_tb(error.__traceback__))


def _message(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception as broken:  # noqa: BLE001 - a user's exception may fail even in this
        return f"(its message cannot be shown: {type(broken).__name__})"
    if len(text) <= TOO_LONG:
        return text
    return f"{text[: TOO_LONG // 2]} ... {text[-(TOO_LONG // 2 - 5) :]}"


def _place(error: BaseException) -> str:
    """'my_tasks.py, line 12'; '' where the exception was raised nowhere."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if not frames:
        return ""
    theirs = [one for one in frames if _is_users(one[0])]
    ours = [one for one in frames if one[0].f_code.co_filename.startswith(OURS)]
    frame, line = (theirs or ours or frames)[-1]
    file = Path(frame.f_code.co_filename)
    inside = not theirs and file.is_relative_to(ROOT)
    return harmless(f"{file.relative_to(ROOT) if inside else file.name}, line {line}", TOO_LONG)


def _is_users(frame: FrameType) -> bool:
    """Whether the code stands in the file that --tasks-from names."""
    from trainers.tasks.user_tasks import (
        MODULE_PREFIX,  # loads torch, which a reader of the ledger does not need
    )

    return str(frame.f_globals.get("__name__", "")).startswith(MODULE_PREFIX)
