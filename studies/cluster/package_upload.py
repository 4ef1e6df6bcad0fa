"""What a job on a cluster is sent: our packages, the study, the task file and the site; nothing else.

One archive, named by its content, so that the same study twice is one upload. No workspace, no .git and no
secret is in it: of passwords, only the names of their files.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from search_spaces.precedence import INTERFACE, PLACES
from studies.site import Site
from trainers.versions import versions

ROOT = Path(__file__).parents[2]
PACKAGES = ("search_spaces", "trainers", "reports", "studies")
LEFT_OUT = frozenset((".pyc", ".pyo"))
FOLDER = "shipped"
"""Of what is the user's, in the job's working directory."""
STUDY = f"{FOLDER}/study.yaml"
SITE = f"{FOLDER}/site.yaml"
MOST_BYTES = 50_000_000
"""Of the archive: it is kept in the memory of the cluster's head."""
CARRIED = ("ledger", "tracking", "artifacts", "ledger_password_file", "tracking_password_file")
"""The keys of the site that a job is told; what the cluster's own environment says goes first."""


@dataclass(frozen=True, kw_only=True)
class StudyArchive:
    """The archive of one study."""

    name: str
    """As Ray wants a package to be called."""
    content: bytes
    tasks: str
    """The task file's place in it; '' where there is none."""

    @property
    def address(self) -> str:
        """What a job names as its working directory."""
        return f"gcs://{self.name}"


def parcel(study: str, tasks_from: Path | None, site: Site) -> StudyArchive:
    """Packs what a job needs.

    Args:
        study: the text of the study file.
        tasks_from: the user's task file.
        site: of the workspace; its addresses and the names of its password files are sent.

    Raises:
        ValueError: the task file cannot be read, or all of it is larger than `MOST_BYTES`.
    """
    files = dict(_packages())
    files |= _distribution()
    files[STUDY] = study.encode()
    files[SITE] = _site(site).encode()
    tasks = ""
    if tasks_from is not None:
        tasks = f"{FOLDER}/{_plain_name(tasks_from)}"
        files[tasks] = _read(tasks_from)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name)  # dated 1980: equal content is an equal archive
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, content)
    content = archive.getvalue()
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"code and task file take {len(content) / 1e6:.0f} MB; a job is sent at most "
            f"{MOST_BYTES / 1e6:.0f} MB: data belongs on a path or address that the cluster's nodes share"
        )
    name = f"_ray_pkg_{hashlib.sha256(content).hexdigest()[:32]}.zip"
    return StudyArchive(name=name, content=content, tasks=tasks)


def _packages() -> Iterator[tuple[str, bytes]]:
    source = Path(PLACES[INTERFACE])  # of a checkout another folder than the one of the packages
    for folder, package in (*((ROOT, package) for package in PACKAGES), (source, INTERFACE)):
        for path in sorted((folder / package).rglob("*")):
            if (
                path.is_file()
                and not path.is_symlink()
                and path.suffix not in LEFT_OUT
                and path.name != "README.md"
                and (folder == source or not path.is_relative_to(source / INTERFACE))
            ):
                yield path.relative_to(folder).as_posix(), path.read_bytes()


def _distribution() -> dict[str, bytes]:
    """What says our version where the packages are only unpacked; it is part of a protocol."""
    version = versions()["groundrules"]
    if version == "source":
        return {}
    text = f"Metadata-Version: 2.1\nName: groundrules\nVersion: {version}\n"
    return {f"groundrules-{version}.dist-info/METADATA": text.encode()}


def _site(site: Site) -> str:
    said = {key: getattr(site, key) for key in CARRIED if getattr(site, key)}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in said.items()) or "{}\n"


def _plain_name(file: Path) -> str:
    """The task file's own name, which errors name, unless it needs quoting."""
    return file.name if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,60}\.py", file.name) else "tasks.py"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror})") from None
