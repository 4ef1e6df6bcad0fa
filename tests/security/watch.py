"""Watches what Python does while an input is read: code that runs, files, processes, sockets."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

NEVER = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.kill",
    "os.putenv",
    "os.unsetenv",
    "pty.",
    "socket.",
    "pickle.",
    "marshal.",
    "ctypes.",
    "urllib.",
    "webbrowser.",
    "sqlite3.enable_load_extension",
    "sqlite3.load_extension",
    "sys.settrace",
    "cpython.run_",
    "ftplib.",
    "smtplib.",
    "http.client.",
    "builtins.input",
    "code.__new__",
    "syslog.",
)
"""Events that reading a file never causes (docs.python.org, Audit events table)."""
MOVING = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "os.mkfifo",
    "os.utime",
    "os.setxattr",
    "shutil.",
    "tempfile.",
)
"""Changes of the file system: allowed in the scratch folder only."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """What happened while it was on; Python's audit hooks cannot be removed, so there is one."""

    def __init__(self) -> None:
        self.on = False
        self.found: list[str] = []
        self.scratch = ""
        self._may_read = False
        self.readable = tuple({str(ROOT), sys.prefix, sys.base_prefix, str(Path(os.__file__).parent)})
        sys.addaudithook(self._hear)

    @contextmanager
    def over(self, scratch: Path, *, may_read: bool = False) -> Iterator[list[str]]:
        """Within it everything suspicious is listed; only `scratch` may be written.

        Args:
            scratch: the folder.
            may_read: files elsewhere may be read.
        """
        self.scratch, self.found, self.on, self._may_read = str(scratch), [], True, may_read
        try:
            yield self.found
        finally:
            self.on = False

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            self._opened(*args)
        elif event in ("exec", "compile"):
            self._ran(event, args)
        elif event == "import":
            if args[0].split(".")[0] not in sys.stdlib_module_names:
                self.found.append(f"import {args[0]}")
        elif event == "sqlite3.connect":
            if self.scratch not in str(args[0]):
                self.found.append(f"{event} {args[0]!r}")
        elif event.startswith(NEVER) or (
            event.startswith(MOVING) and not any(self._inside(one) for one in args)
        ):
            self.found.append(f"{event} {args!r:.200}")

    def _ran(self, event: str, args: tuple[Any, ...]) -> None:
        name = args[0].co_filename if event == "exec" else args[1]
        name = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        if not name.startswith(("<frozen ", *self.readable)):
            self.found.append(f"{event} {name} {args[0]!r:.200}")

    def _opened(self, file: Any, mode: Any, flags: int) -> None:
        if isinstance(file, int) or self._inside(file):
            return
        known = self._may_read or os.fsdecode(file).startswith(self.readable)
        if flags & WRITING or not known:
            self.found.append(f"open {file!r} {mode} {flags:#x}")

    def _inside(self, file: Any) -> bool:
        if not isinstance(file, (str, bytes, os.PathLike)):
            return False
        place = os.path.abspath(os.fsdecode(file))
        return place == self.scratch or place.startswith(self.scratch + os.sep)


WATCH = Watch()


def scratch_root() -> str:
    """Where files that are made by the thousand lie: in memory, where there is such a place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
