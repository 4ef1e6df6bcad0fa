"""Files from and for outside: reads that are bounded and never wait, writes that follow no symbolic link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
    with os.fdopen(descriptor, "rb") as found:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        data = found.read(most + 1)
    if len(data) > most:
        raise TooLongError(f"longer than {most} bytes; such a file has at most {most}")
    return data


def write(file: Path, content: str | bytes) -> None:
    """Writes one of our own files in a workspace; text as UTF-8, its line ends as they are.

    Raises:
        OSError: it cannot be written, or is a symbolic link: somebody may have put that there so that we
            overwrite something else.
    """
    data = content.encode() if isinstance(content, str) else content
    with os.fdopen(opened(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as out:
        out.write(data)


@contextmanager
def appending(file: Path) -> Iterator[IO[str]]:
    """Opens a text file of ours for reading and appending; as `write`."""
    with os.fdopen(opened(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+", encoding="utf-8") as text:
        yield text


def own_folder(root: Path, *names: str) -> Path:
    """The folder `root/names...`, made where missing.

    Raises:
        ValueError: a name that is no plain name, or something below `root` that is a symbolic link.
    """
    folder = root
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"'{name}' cannot be the name of a folder in {root}")
        folder = folder / name
        if folder.is_symlink():
            raise ValueError(f"{folder} is a symbolic link; nothing is written through one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def opened(file: Path, flags: int) -> int:
    """A descriptor of one of our own files.

    Raises:
        OSError: it cannot be opened, or is a symbolic link, a pipe, a device.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end.
    extra = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags | extra, 0o666)
    except OSError as error:
        if file.is_symlink():
            raise OSError(f"{file} is a symbolic link; nothing is written through one") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{file} is not a regular file")
    return descriptor
