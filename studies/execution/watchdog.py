"""Ends what a killed driver leaves of its local cluster; a program of its own, of the standard library alone.

    python -I -S watchdog.py FOLDER PID

Linux ends Ray's two servers with the driver, but not the agents that these have started: those look for
their parent every half minute. So a process in a session of its own waits until its parent PID is gone, or
has closed the pipe without a word, and kills every process of the cluster. Each of them was started with
FOLDER as its HOME and writes its log below it. Both are looked for: a process that gives itself a title, as
Ray's agents do, writes it over its environment.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import sys
import time
from contextlib import suppress

LOOK_SECONDS = 1.0
DONE = b"done"
"""What the driver writes when it has ended the cluster itself."""
QUIET_LOOKS = 3
"""So often nothing is left, one look after the other, before the folder goes: processes start processes."""
MOST_SECONDS = 60.0


def main(folder: str, driver: int) -> None:
    """Waits for the driver's end, then clears up."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    while os.getppid() == driver:
        if select.select([0], [], [], LOOK_SECONDS)[0]:
            if os.read(0, len(DONE)) == DONE:
                return
            break
    quiet, until = 0, time.monotonic() + MOST_SECONDS
    while quiet < QUIET_LOOKS and time.monotonic() < until:
        quiet = 0 if kill_all(folder, spare=driver) else quiet + 1
        time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.rmdir(os.path.dirname(folder))


def kill_all(folder: str, *, spare: int) -> int:
    """Kills every process of this user that belongs to the cluster in FOLDER; how many there were.

    Not the process SPARE: a driver that begins again keeps its number, and files that it had open.
    """
    killed = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (os.getpid(), spare):
            with suppress(OSError):
                handle = os.pidfd_open(int(name))  # before the look: another process may get its number
                try:
                    if has_home(name, folder) or writes_below(name, folder):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        killed += 1
                finally:
                    os.close(handle)
    return killed


def has_home(pid: str, folder: str) -> bool:
    """Whether the process has FOLDER as its HOME, as far as its environment can still be read."""
    with open(f"/proc/{pid}/environ", "rb") as environment:
        return f"HOME={folder}".encode() in environment.read().split(b"\0")


def writes_below(pid: str, folder: str) -> bool:
    """Whether the process has a file below FOLDER open for writing (to read one proves nothing)."""
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # it may have been closed since
            written = entry.stat(follow_symlinks=False).st_mode & stat.S_IWUSR
            if written and os.readlink(entry.path).startswith(folder + os.sep):
                return True
    return False


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
