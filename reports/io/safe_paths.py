"""Files from and for outside: bounded reads that never wait; writing is `trainers.atomic_files`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from trainers.atomic_files import (
    PART,
    DiskFull,
    LinkInTheWay,
    appending,
    create,
    make_folder,
    opened,
    own_folder,
    refuse_database_links,
    refuse_link,
    save,
    set_aside,
    write,
)

__all__ = [
    "LONGEST",
    "PART",
    "DiskFull",
    "LinkInTheWay",
    "TooLongError",
    "appending",
    "create",
    "make_folder",
    "opened",
    "own_folder",
    "read_bounded",
    "refuse_database_links",
    "refuse_link",
    "save",
    "set_aside",
    "write",
]

LONGEST = 1_000_000
"""Bytes of a file that a person writes (a study, a site, a table of defaults)."""


class TooLongError(ValueError):
    """A file is longer than it may be."""


def read_bounded(file: Path, most: int = LONGEST) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a folder, which might never end.
        TooLongError: it is longer.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        data = stream.read(most + 1)
    if len(data) > most:
        raise TooLongError(f"longer than {most} bytes; such a file has at most {most}")
    return data
