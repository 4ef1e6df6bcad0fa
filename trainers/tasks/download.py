"""Files that a task is made of, wherever they lie, checked by their content.

In a file of one's own tasks:

    from trainers.fetching import fetched
    from trainers.task import Task

    def churn():
        file = fetched("s3://team/churn.csv", sha256="9f86d081884c7d659a2feaa0c55ad015...")
        return Task.from_csv(file, target="left", kind="classification")

    TASKS = [churn]

Every process that builds the task calls this: the driver, and on a cluster each worker. Whoever comes first
on a node fetches the file into its cache, `fetched/<sha256>/` in GROUNDRULES_DATA (default: the user's
cache); the others wait for a lock that dies with its holder, and take that copy. It appears under its name
when it is whole and its hash is right, and the hash is taken again whenever it is used. Who may read a
store, the environment and the store's own files say (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ...),
never the address. With this file the door to fsspec.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from search_spaces.factor import unknown
from trainers.atomic_files import FULL, appending, own_folder, replacing
from trainers.tasks.images import data_folder

SCHEMES = ("file", "s3", "gs", "abfs", "http", "https", "memory")
"""Of addresses; `memory` is a store within one process. Of the others, some run code or chain addresses."""
DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "http": "aiohttp", "https": "aiohttp"}
"""What must be installed beside fsspec."""
FOLDER = "fetched"
PART = re.compile(r"\.[0-9]+\.part")
"""The name of a copy on its way: of the process that makes it. No other file is ever removed."""


def fetched(address: str | Path, *, sha256: str = "", cache: str | Path | None = None) -> Path:
    """The path of a local file with that content.

    Args:
        address: a path, or `scheme://...` with one of `SCHEMES`.
        sha256: of the file (`sha256sum FILE` says it). Without one only paths are taken; such a file is
            used where it lies, and the task's content hash alone tells whether two nodes have the same.
        cache: a folder of this node; None: `fetched` in GROUNDRULES_DATA or in the user's cache.

    Raises:
        ValueError: an address of another kind or with a secret in it, no hash for one that is no path,
            nothing there, no right to read it, another content, or a cache that cannot be written. The
            message names the address.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     original = Path(folder) / "churn.csv"
        ...     _ = original.write_bytes(b"calls,left")
        ...     content = hashlib.sha256(b"calls,left").hexdigest()
        ...     copy = fetched(original, sha256=content, cache=Path(folder) / "cache")
        ...     copy.read_text(), copy == original
        ('calls,left', False)
    """
    scheme, shown = _checked(str(address))
    expected = sha256.strip().lower()
    if expected and not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise ValueError(f"{shown}: sha256 = {sha256!r} must be 64 hexadecimal digits (`sha256sum FILE`)")
    if scheme == "file":
        local = _local(str(address))
        if not local.is_file():
            raise ValueError(f"{shown}: there is no such file on {os.uname().nodename}")
        if not expected:
            return local
    elif not expected:
        raise ValueError(
            f"{shown}: give its sha256 (`sha256sum FILE`): what comes over a network is used only if it is "
            "what was meant"
        )
    root = data_folder() / FOLDER if cache is None else Path(cache)
    folder = root / expected
    file = folder / _name(str(address))
    try:
        own_folder(root, expected)
        with _alone(folder):
            if file.is_file() and _hash(file) == expected:
                return file
            _fetch(str(address), scheme, shown, expected, file)
    except OSError as error:
        raise ValueError(f"{shown} cannot be kept in {folder} ({error})") from error
    return file


def _fetch(address: str, scheme: str, shown: str, expected: str, file: Path) -> None:
    """Puts the whole file in its place, or nothing; the lock is ours."""
    for left in file.parent.glob(".*.part"):
        if PART.fullmatch(left.name):  # by someone who was killed
            left.unlink()
    with replacing(file) as part:
        _copy(address, scheme, shown, part)
        actual = _hash(part)
        if actual != expected:
            raise ValueError(
                f"{shown} has other content than expected: its sha256 is {actual}, expected {expected}"
            )


def _copy(address: str, scheme: str, shown: str, part: Path) -> None:
    if scheme == "file":
        shutil.copyfile(_local(address), part)
        return
    try:
        import fsspec  # type: ignore[import-untyped,unused-ignore]

        store, path = fsspec.url_to_fs(address)
        store.get_file(path, str(part))
    except ImportError:
        need = DRIVERS.get(scheme, "fsspec")
        raise ValueError(f"{shown}: '{need}' must be installed to read {scheme} addresses") from None
    except FileNotFoundError:
        raise ValueError(f"{shown}: there is nothing at this address") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        reason = _without_secrets(" ".join(str(error).split()), address, shown)[:300]
        raise ValueError(f"{shown} cannot be fetched ({type(error).__name__}: {reason})") from None


def _checked(address: str) -> tuple[str, str]:
    """The scheme, and the address as messages may show it."""
    if "::" in address:
        raise ValueError(
            f"address {address!r}: chained addresses (::) are not followed; name the file itself"
        )
    scheme, mark, _ = address.partition("://")
    if not mark:
        return "file", address
    if scheme not in SCHEMES:
        raise unknown("kind of address", scheme, SCHEMES)
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    shown = urlunsplit((parts.scheme, host, parts.path, "", ""))
    if user and scheme != "abfs":  # where a container stands before the @
        raise ValueError(
            f"{shown}: a user or a secret stands in the address; credentials come from the environment or "
            "the store's own files"
        )
    return scheme, address.partition("?")[0]


def _without_secrets(text: str, address: str, shown: str) -> str:
    """What a store says, without the query of a signed address."""
    query = urlsplit(address).query
    text = text.replace(address, shown)
    return text.replace(query, "...") if query else text


def _local(address: str) -> Path:
    if address.startswith("file://"):
        return Path(unquote(urlsplit(address).path))
    return Path(os.path.expanduser(address))


def _name(address: str) -> str:
    """The file's own name, without anything that could lead out of its folder."""
    last = unquote(urlsplit(address).path if "://" in address else address).rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".")
    return name[-100:] or "file"


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this node at a time; the lock ends with its holder."""
    with appending(folder / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
