"""The door through which every file is written: whole or not at all, and through no link but the user's.

A file that replaces another is written beside it, synced and renamed, so that a full disk or a kill leaves
the old one. What lies in a workspace or a cache is ours, and is never written through a symbolic link below
that folder; a path that the user has named (`--output`) is followed where it leads. Who else writes files is
listed in tests/test_writing.py, with the reason.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PART = ".groundrules-part"
"""The ending of a file that is being written; what a killed process has left goes with the next writing."""
LONGEST_STEM = 40
"""Characters of a file's name that its part repeats: names have at most 255 bytes."""
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""No room on the disk, in the quota, or under the limit on the size of files."""
_UNLINKABLE = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
"""What file systems without hard links answer."""
_UNRENAMABLE = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV))
"""A folder that takes no new file, or a file that is mounted by itself."""
BESIDE = ("", "-journal", "-wal", "-shm")
"""Endings of an SQLite file and of what SQLite writes beside it."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DESCRIPTORS = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd")


class LinkInTheWay(ValueError):
    """Something of ours is a symbolic link: it may be there so that we overwrite another file."""


class DiskFull(Exception):
    """There is no room for a file; what was there before is as it was."""


def refuse_link(path: Path) -> None:
    """LinkInTheWay if `path` itself is a symbolic link; the folders above it are not checked."""
    if path.is_symlink():
        raise LinkInTheWay(
            f"{path} is a symbolic link; nothing is written through one: remove it, or put what it points to "
            "in its place"
        )


def refuse_database_links(file: Path) -> None:
    """LinkInTheWay if an SQLite file, or one that SQLite writes beside it, is a symbolic link."""
    for ending in BESIDE:
        refuse_link(file.with_name(file.name + ending))


def write(file: Path, content: str | bytes) -> None:
    """Writes one of our own files, in place of an earlier one; text as UTF-8, its line ends as they are.

    Raises:
        LinkInTheWay: it is a symbolic link.
        DiskFull: there is no room.
        OSError: it cannot be written.
    """
    with replacing(file) as part, part.open("wb") as out:
        out.write(_bytes(content))


def create(file: Path, content: str | bytes) -> None:
    """The same of a file that must not be there yet; FileExistsError where it is."""
    with room_for(file), _part_of(file) as part:
        with part.open("wb") as out:
            out.write(_bytes(content))
        _sync(part)
        try:
            os.link(part, file, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _UNLINKABLE:
                raise
            os.close(os.open(file, _NEW, 0o666))
            os.replace(part, file)
        _sync_names(file.parent)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """An empty file beside one of our own, for a library that wants a path; it takes its place at the end.

    The permissions of an earlier file are kept. After an exception the earlier file is as it was.

    Raises:
        LinkInTheWay, DiskFull, OSError: as `write`.
    """
    refuse_link(file)
    with room_for(file), _part_of(file) as part:
        yield part
        _sync(part)
        os.replace(part, file)
        _sync_names(file.parent)


def save(output: Path, content: str | bytes) -> None:
    """Writes to a path that the user has named: links are followed, and only a regular file is replaced.

    A pipe, a device or an open descriptor (/dev/stdout) is written into. So is a file in a folder that takes
    no other file.

    Raises:
        DiskFull: there is no room.
        OSError: it cannot be written, or the file there is read-only.
    """
    if (descriptor := _own_descriptor(output)) is not None:
        if sys.stdout is not None:
            sys.stdout.flush()
        with room_for(output), os.fdopen(os.dup(descriptor), "wb") as out:
            out.write(_bytes(content))
        return
    target = Path(os.path.realpath(output))
    in_place = target.exists() and not target.is_file()
    if target.is_file() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output))
    if not in_place:
        try:
            write(target, content)
        except OSError as error:
            in_place = error.errno in _UNRENAMABLE and target.is_file()
            if not in_place:
                raise
    if in_place:
        with room_for(output), target.open("wb") as out:
            out.write(_bytes(content))


def set_aside(file: Path, kind: str) -> Path:
    """Renames a file, and what SQLite has beside it, to the first free `<file>.<kind>-<number>`.

    Raises:
        LinkInTheWay, OSError: as `write`.
    """
    refuse_database_links(file)
    number = next(n for n in itertools.count(1) if not os.path.lexists(f"{file}.{kind}-{n}"))
    aside = file.with_name(f"{file.name}.{kind}-{number}")
    # The file last: no other of its name meets what is beside it.
    for ending in (*BESIDE[1:], ""):
        with suppress(FileNotFoundError):
            os.rename(f"{file}{ending}", f"{aside}{ending}")
    _sync_names(file.parent)
    return aside


@contextmanager
def appending(file: Path) -> Iterator[IO[str]]:
    """Opens a text file of ours for reading and appending.

    Raises:
        LinkInTheWay, OSError: as `opened`.
    """
    with os.fdopen(opened(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+", encoding="utf-8") as text:
        yield text


def opened(file: Path, flags: int) -> int:
    """A descriptor of one of our own files, which is not replaced: a log, a lock.

    Raises:
        LinkInTheWay: it is a symbolic link.
        OSError: it cannot be opened, or is a pipe or a device.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end.
    extra = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags | extra, 0o666)
    except OSError:
        refuse_link(file)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{file} is not a regular file")
    return descriptor


def own_folder(root: Path, *names: str) -> Path:
    """The folder `root/names...`, made where missing.

    Raises:
        ValueError: a name that is no plain name, or something below `root` that is a symbolic link.
        DiskFull, OSError: it cannot be made.
    """
    folder = root
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"'{name}' cannot be the name of a folder in {root}")
        folder = folder / name
        refuse_link(folder)
    make_folder(folder)
    return folder


@contextmanager
def fresh_folder(root: Path) -> Iterator[Path]:
    """A new folder in `root`, gone at the end, for a library that writes files; `take_in` keeps one."""
    with tempfile.TemporaryDirectory(prefix=".", suffix=PART, dir=root) as folder:
        yield Path(folder)


def take_in(made: Path, file: Path) -> None:
    """Moves a file of a `fresh_folder` into its place, as `write`."""
    refuse_link(file)
    with room_for(file):
        _sync(made)
        os.replace(made, file)
        _sync_names(file.parent)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Within it, an OSError of a full disk is raised as DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"there is no room for {path} ({error.strerror}); what was there before is as it was"
            ) from error
        raise


def make_folder(folder: Path) -> None:
    """Makes a folder that the user has named, and those above it, where missing."""
    with room_for(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


@contextmanager
def _part_of(file: Path) -> Iterator[Path]:
    """An empty file beside `file`, with its permissions; gone at the end, unless it was renamed."""
    _sweep(file)
    try:
        before: os.stat_result | None = os.stat(file, follow_symlinks=False)
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        kind = "a folder" if stat.S_ISDIR(before.st_mode) else "not a regular file"
        raise OSError(errno.EEXIST, f"{kind} is in its place", str(file))
    part, descriptor = _new_part(file, 0o666 if before is None else 0o600)
    try:
        if before is not None:
            with suppress(OSError):  # only root may give a file to somebody else
                os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        yield part
    finally:
        with suppress(OSError):
            part.unlink()
        os.close(descriptor)


def _new_part(file: Path, mode: int) -> tuple[Path, int]:
    """A new file beside `file`, and its descriptor, which holds a lock as long as its writer lives."""
    while True:
        part = file.with_name(f".{file.name[:LONGEST_STEM]}.{secrets.token_hex(4)}{PART}")
        try:
            descriptor = os.open(part, _NEW, mode)
        except FileExistsError:
            continue
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):  # swept away by another process before it had its lock
            if os.stat(part, follow_symlinks=False).st_ino == os.fstat(descriptor).st_ino:
                return part, descriptor
        os.close(descriptor)


def _sweep(file: Path) -> None:
    """Removes what killed processes have left of the same file: parts whose lock is free."""
    ours = re.compile(rf"\.{re.escape(file.name[:LONGEST_STEM])}\.[0-9a-f]{{8}}{re.escape(PART)}")
    with suppress(OSError), os.scandir(file.parent) as entries:
        for entry in entries:
            if not ours.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(OSError):
                left = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)
                finally:
                    os.close(left)


def _sync(file: Path) -> None:
    """Waits until a file is on the disk."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_names(folder: Path) -> None:
    """The same of the names in a folder, where the file system can do that and the folder may be read."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _own_descriptor(path: Path) -> int | None:
    """The open descriptor of this process that a path such as /dev/stdout stands for."""
    for _ in range(40):
        folder = os.path.realpath(path.parent)
        if (found := _DESCRIPTORS.fullmatch(folder)) and path.name.isdecimal():
            return int(path.name) if int(found[1]) == os.getpid() else None
        if not path.is_symlink():
            return None
        path = Path(folder) / os.readlink(path)
    return None
