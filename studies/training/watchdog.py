"""Ends what a killed driver leaves of its local cluster; a program of its own, of the standard library alone.

    python -I -S watchdog.py FOLDER PID

Linux ends Ray's two servers with the driver, but not the agents that these have started: those look for
their parent every half minute. So a process in a session of its own waits until its parent PID is gone, or
has closed the pipe without a word, and kills every process whose HOME is FOLDER: the cluster was started with
it.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
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
        quiet = 0 if kill_all(folder) else quiet + 1
        time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.rmdir(os.path.dirname(folder))


def kill_all(folder: str) -> int:
    """Kills every process of this user that was started with FOLDER as its home; how many there were."""
    mark, killed = f"HOME={folder}".encode(), 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):
                handle = os.pidfd_open(int(name))  # before the look: another process may get its number
                try:
                    with open(f"/proc/{name}/environ", "rb") as environment:
                        ours = mark in environment.read().split(b"\0")
                    if ours:
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        killed += 1
                finally:
                    os.close(handle)
    return killed


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
