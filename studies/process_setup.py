"""What the process needs before anything else: three open standard streams and a Ctrl-C handler.

Imported first of all, for the imports that follow take longer than an impatient user waits. Where this is not
the program but somebody's script or notebook, nothing is touched.
"""

from __future__ import annotations

import io
import os
import signal
import sys

TYPE_CHECKING = False  # as `typing` has it, which takes longer to load than all else here
if TYPE_CHECKING:
    from types import FrameType
    from typing import IO, Any, Final

PROGRAM: Final = "groundrules"
INTERRUPTED: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Signal -> exit code, as shells have it."""
_SENTENCE: Final = {
    signal.SIGINT: "interrupted; what was finished is kept: resume with the same command",
    signal.SIGTERM: "terminated; what was finished is kept: resume with the same command",
}
received: int = signal.SIGINT
"""The signal that has interrupted the program, where one has."""
heard: bool = False


class OutputLost(OSError):
    """Standard output takes nothing any more: its reader has gone, or its disk is full."""


class Output(io.TextIOWrapper):
    """Standard output, whose failures are told from those of other files."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputLost(error.errno, error.strerror) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputLost(error.errno, error.strerror) from error


class TolerantStream(io.TextIOWrapper):
    """Standard error: what cannot be said there is not said, and the work goes on."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except (OSError, ValueError):
            return


def is_program() -> bool:
    """Whether this process was started as the command, and not by somebody who imports it."""
    words, started = getattr(sys, "argv", None) or [""], sys.orig_argv
    module = next(iter(started[started.index("-m") + 1 :]), "") if "-m" in started else ""
    if module == PROGRAM and words[0].endswith(os.path.join(PROGRAM, "__main__.py")):
        return True
    asked = words[0] == "-m" and module in (PROGRAM, "studies.cli")
    return asked or os.path.basename(words[0]).partition(".")[0] == PROGRAM


def open_missing() -> None:
    """Gives closed standard streams to the null device: the next file to be opened would take their place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:  # a file has its number already, and keeps it
                os.close(opened)
            else:
                os.set_inheritable(number, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream: IO[str] = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def soften() -> None:
    """Lets streams show what they cannot encode as an escape, and standard error never fail."""
    out, err = sys.stdout, sys.stderr
    if isinstance(out, io.TextIOWrapper) and not isinstance(out, Output):
        sys.stdout = Output(
            out.buffer,
            encoding=out.encoding,
            errors="backslashreplace",
            line_buffering=out.line_buffering,
            write_through=out.write_through,
        )
    if isinstance(err, io.TextIOWrapper) and not isinstance(err, TolerantStream):
        sys.stderr = TolerantStream(
            err.buffer, encoding=err.encoding, errors="backslashreplace", line_buffering=True
        )


def leave_on_signals() -> None:
    """While there is nothing to clean up, an interrupt ends the program at once."""
    _set(_leave)


def interrupt_on_signals() -> None:
    """From now on an interrupt raises KeyboardInterrupt, and `sentence` and `exit_code` know which it was."""
    _set(interrupt)


def ignore_signals() -> None:
    """On the way out."""
    for number in INTERRUPTED:
        signal.signal(number, signal.SIG_IGN)


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of signals."""
    global received, heard
    if os.getpid() != _MAIN:  # a child that has not become another program: it has nothing to say
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    received, heard = number, True
    raise KeyboardInterrupt


def sentence() -> str:
    """What an interrupted program says."""
    return _SENTENCE[signal.Signals(received)]


def exit_code() -> int:
    """Of an interrupted program."""
    return INTERRUPTED[signal.Signals(received)]


def hear_again() -> None:
    """Puts our handlers back below Python, where a library has set its own: Ray's writes a stack dump."""
    for number in INTERRUPTED:
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{_SENTENCE[signal.Signals(number)]}\n".encode())
    os._exit(INTERRUPTED[signal.Signals(number)])


def _set(handler: Any) -> None:
    early = [getattr(sys.modules.get(name), "leave_early", None) for name in (PROGRAM, "__main__")]
    ours = (signal.default_int_handler, signal.SIG_DFL, _leave, interrupt, *filter(None, early))
    for number in INTERRUPTED:
        if signal.getsignal(number) in ours:  # who was started deaf to it stays so
            signal.signal(number, handler)


_MAIN = os.getpid()
if is_program():
    leave_on_signals()
    open_missing()
