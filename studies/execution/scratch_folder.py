"""The private folder of one local cluster, and the removal of those that killed runs have left.

All lie in one folder of the user's that nobody else can open. A folder is removed only if it is proved ours:
its marker, written by us, names the folder's own path and inode, so that no copy, link or likeness of one is
ever taken for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

PREFIX = "groundrules-"
PLACES = ("/tmp", "", "/var/tmp", "/dev/shm")
"""Where one may be made; '': the temporary folder of this process, whose name may be long."""
LONGEST = 30 - len(PREFIX)
"""Characters of such a place and the user's number: the names of Ray's sockets must stay below 108 bytes."""
TRIES = 10
MARKER = "lock"
"""Held while the folder is in use; its content is the proof."""


def new_folder(root: Path | None = None) -> tuple[Path, IO[str]]:
    """A new private folder and its marker, locked; those that killed runs have left are removed first.

    Args:
        root: where the user's folder lies; None: the first of `PLACES` that will do.

    Raises:
        ValueError: none of them will.
    """
    root = _place() if root is None else root
    for _ in range(TRIES):
        parent = _parent(root.resolve())
        try:
            for old in parent.iterdir():
                _remove_if_left(old)
            return _made(parent)
        except FileNotFoundError:  # a run that has just ended has removed the empty parent
            continue
    raise OSError(f"no folder can be made below {root}")


def _place() -> Path:
    """The first folder that can be written and has a name short enough for the sockets in it."""
    places = [Path(place or tempfile.gettempdir()).resolve() for place in PLACES]
    for place in places:
        if len(f"{place}{os.getuid()}") <= LONGEST and os.access(place, os.W_OK | os.X_OK):
            return place
    raise ValueError(
        f"Ray needs a temporary folder that can be written and has a short name, and none of "
        f"{', '.join(map(str, places))} is one: set TMPDIR to one with at most "
        f"{LONGEST - len(str(os.getuid()))} characters (or use --engine inline)"
    )


def _made(parent: Path) -> tuple[Path, IO[str]]:
    """The new folder, and its marker."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    descriptor = os.open(folder / MARKER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    marker = os.fdopen(descriptor, "w", encoding="utf-8")
    # Locked before it proves anything: whoever can lock a marker that does may remove its folder.
    fcntl.flock(marker, fcntl.LOCK_EX)
    marker.write(json.dumps(_proof(folder)))
    marker.flush()
    return folder, marker


def remove(folder: Path) -> None:
    """Removes a folder that `new_folder` made, and the user's folder where nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


def _parent(root: Path) -> Path:
    """The user's own folder; a new one where something else has its name."""
    parent = root / f"{PREFIX}{os.getuid()}"
    with suppress(OSError):
        parent.mkdir(mode=0o700)
    return parent if _private(parent) else Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))


def _private(folder: Path) -> bool:
    """Whether this is a folder, no link, that belongs to this user and that nobody else can open."""
    try:
        seen = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and stat.S_IMODE(seen.st_mode) == 0o700


def _proof(folder: Path) -> dict[str, object]:
    """What only the marker that was made in this very folder says."""
    seen = folder.lstat()
    return {
        "made by": "groundrules, for one run; removed after it",
        "folder": str(folder),
        "device": seen.st_dev,
        "inode": seen.st_ino,
    }


def _remove_if_left(folder: Path) -> None:
    """Removes a folder that is proved ours and that no run holds."""
    if not _private(folder):
        return
    with suppress(OSError, ValueError):
        descriptor = os.open(folder / MARKER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8") as marker:
            seen = os.fstat(descriptor)
            if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_nlink != 1:
                return
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if json.loads(marker.read(10_000)) == _proof(folder):
                shutil.rmtree(folder, ignore_errors=True)
