"""How much disk and memory this machine has free, for a process and those that it starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CgroupFiles:
    """Names of what one version of cgroups tells of memory."""

    limit: str
    used: str


VERSION_1 = CgroupFiles(limit="memory.limit_in_bytes", used="memory.usage_in_bytes")
VERSION_2 = CgroupFiles(limit="memory.max", used="memory.current")


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def free_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that may still be taken: of the machine, and below the limits of the cgroups.

    Args:
        proc: where the kernel tells of processes,
        cgroups: and of their groups.
    """
    available = [
        1024 * int(line.split()[1])
        for line in _text(proc / "meminfo").splitlines()
        if line.startswith("MemAvailable:")
    ]
    rooms = [*available, *_below_limits(cgroups, _text(proc / "self" / "cgroup"))]
    return max(0, min(rooms, default=1 << 62))  # no system that tells: whatever is needed is there


def _below_limits(cgroups: Path, own: str) -> Iterator[int]:
    """Bytes below the limit, of each cgroup with one that holds this process.

    Args:
        cgroups: where they are mounted.
        own: which hold this process: lines number:controllers:path, the second empty in version 2.
    """
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = VERSION_1 if controllers else VERSION_2
        top = cgroups / "memory" if controllers else cgroups
        place = top / path.lstrip("/")  # inside a container this may not be there, and its top is
        for folder in (place, *place.parents):
            limit, used = _text(folder / files.limit).strip(), _text(folder / files.used).strip()
            if limit.isdecimal() and used.isdecimal():
                yield int(limit) - int(used) + _cache(folder)
            if folder == top:
                break


def _cache(folder: Path) -> int:
    """Bytes of a cgroup's files in memory, which are given back as soon as they are needed."""
    rows = (line.split() for line in _text(folder / "memory.stat").splitlines())
    return sum(int(row[1]) for row in rows if row[0] == "inactive_file")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
