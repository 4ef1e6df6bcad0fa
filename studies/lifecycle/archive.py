"""A study in one file: a zip of its ledger rows, its pages and its artifacts, each with its SHA-256.

    manifest.json           what the study is, how many rows of each table, and the hash of every other file
    ledger/TABLE.jsonl      the ledger's rows as they are stored, one a line, with the seal over them
    report/...              its pages
    artifacts/...           what MLflow shows beside its runs

MLflow's runs are not in it: they follow from the ledger, with the same ids, and are made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from studies.free_resources import free_disk
from studies.ledger import whole_study
from studies.ledger.contract import Row
from studies.ledger.ledger import Ledger
from studies.ledger.schema import SCHEMA_VERSION
from studies.ledger.sqlite import NAMES
from studies.lifecycle.places import held
from studies.site import site_of
from studies.tracking.artifact_folder import ArtifactFolder
from studies.tracking.report_artifacts import location_of
from studies.tracking.tracker import STAMP
from studies.workspace_files import REPORTS, refuse_links
from trainers.atomic_files import replacing

FORMAT = 1
MANIFEST = "manifest.json"
ENDING = ".groundrules.zip"
LARGEST_MANIFEST = 100_000_000
"""Bytes; about a hundred for each file of the study."""
CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ArchiveSummary:
    """What is in an archive."""

    study: str
    title: str
    protocol_hash: str
    started_ms: int
    extends: str | None
    """The study that this one extends, which must be in a workspace before this one is restored there."""
    rows: Mapping[str, int]
    """Table of the ledger -> rows."""
    bytes: int
    """Of the archive's content, unpacked."""
    files: Mapping[str, str]
    """Name in the archive -> SHA-256 of its content."""
    groundrules: str
    """Version of the program that wrote it,"""
    ledger_schema: int
    """and of the ledger."""
    format: int = FORMAT


def archive(workspace: Path, study: str, output: Path) -> ArchiveSummary:
    """Writes a study into one file and verifies it; the study stays where it is.

    Raises:
        ValueError: no such study, or it runs; the file exists, or cannot be written.
        LedgerDamaged: the study is not what was recorded.
    """
    if output.exists():
        raise ValueError(f"{output} exists already; name another file")
    try:
        with held(workspace, study) as places, replacing(output) as part:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
                summary = _write(file, places.ledger, study, places.report, places.artifacts)
            with opened(part, output) as written:
                written.refuse_faults()
    except OSError as error:
        raise ValueError(f"cannot write the archive {output} ({error})") from error
    return summary


def restore(workspace: Path, file: Path) -> ArchiveSummary:
    """Brings an archived study back: its files first, its rows in the ledger last, in one transaction.

    So a kill leaves no study, and the same command begins again. MLflow's runs are written by the caller
    (`studies.tracking.tracker.restore`).

    Raises:
        ValueError: no archive, or of a newer version; a study of its name is in the workspace, or the one
            that it extends is not.
        LedgerDamaged: it is not what was archived.
    """
    with opened(file, file) as found:
        summary, study = found.summary, found.summary.study
        found.refuse_faults()
        refuse_links(workspace, study)
        if found.size > (free := free_disk(workspace)):
            raise ValueError(f"{file} unpacks to {found.size} bytes, and {free} are free in {workspace}")
        with Ledger.open(workspace, create=True) as ledger, ledger.hold(study):
            if whole_study.holds(ledger.database, study):
                raise ValueError(
                    f"study '{study}' is in {workspace} already: delete it, or restore elsewhere"
                )
            if summary.extends and not whole_study.holds(ledger.database, summary.extends):
                raise ValueError(f"study '{study}' extends '{summary.extends}': restore that one first")
            site = site_of(workspace)
            report = (Path(workspace).resolve() / REPORTS / study).as_uri()
            for place, address in (("report", report), ("artifacts", location_of(site, study))):
                folder = ArtifactFolder(address)
                for name in found.names(place):
                    folder.write(name, found.content(f"{place}/{name}"))
            whole_study.insert(ledger.database, study, found.rows)
    return summary


class OpenedArchive:
    """An archive that can be read: its manifest is what this program writes."""

    def __init__(self, file: zipfile.ZipFile, name: str) -> None:
        """Reads the manifest.

        Raises:
            ValueError: there is none, or it is of a newer version.
        """
        self._file, self._name = file, name
        try:
            info = file.getinfo(MANIFEST)
            if info.file_size > LARGEST_MANIFEST:
                raise ValueError(f"its manifest has {info.file_size} bytes")
            said = json.loads(file.read(MANIFEST))
            if said.get("format") != FORMAT:
                raise ValueError(f"its format is {said.get('format')!r}, and this program reads {FORMAT}")
            self.summary = ArchiveSummary(**said)
        except (KeyError, TypeError, AttributeError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{name} is no archive of a study ({error})") from error
        if self.summary.ledger_schema > SCHEMA_VERSION:
            raise ValueError(
                f"{name} is of ledger schema {self.summary.ledger_schema}, newer than this program's "
                f"{SCHEMA_VERSION}; upgrade groundrules"
            )
        if not NAMES.fullmatch(self.summary.study):
            raise ValueError(f"{name} is no archive of a study (its name is {self.summary.study!r:.80})")

    @property
    def size(self) -> int:
        """Bytes of everything in it, unpacked; nothing is read beyond them."""
        return sum(info.file_size for info in self._file.infolist())

    def names(self, place: str) -> list[str]:
        """The files below `report` or `artifacts`, relative to it."""
        return [name.removeprefix(f"{place}/") for name in self.summary.files if name.startswith(f"{place}/")]

    def content(self, name: str) -> bytes:
        """One file's content."""
        return self._file.read(name)

    def rows(self, table: str) -> Iterator[Sequence[Any]]:
        """The rows of one of the ledger's tables."""
        with self._file.open(_of_table(table)) as lines:
            for line in lines:
                yield json.loads(line)

    def faults(self) -> list[str]:
        """What is not as it was archived: hashes of files, the number of rows, the seal over the rows."""
        names = set(self._file.namelist())
        expected = {MANIFEST, *self.summary.files}
        found = [f"{name}: it is missing" for name in sorted(expected - names)]
        found += [f"{name}: it was added" for name in sorted(names - expected)]
        found += [
            f"{name}: its content is not what was archived"
            for name, hashed in self.summary.files.items()
            if name in names and self._hash(name) != hashed
        ]
        if found:
            return found
        for table, count in self.summary.rows.items():
            if sum(1 for _ in self.rows(table)) != count:
                found.append(f"{_of_table(table)}: it has not the {count} rows that were archived")
        try:
            return found + whole_study.faults(self.summary.study, self.rows)
        except (ValueError, LookupError, TypeError) as error:
            return [*found, f"its rows cannot be read ({type(error).__name__}: {error})"]

    def refuse_faults(self) -> None:
        """ValueError with the first of `faults`."""
        if found := self.faults():
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            raise ValueError(f"{self._name} is damaged: {found[0]}{more}")

    def _hash(self, name: str) -> str:
        digest = hashlib.sha256()
        try:
            with self._file.open(name) as content:
                while chunk := content.read(CHUNK):
                    digest.update(chunk)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError):
            return ""
        return digest.hexdigest()


@contextmanager
def opened(file: Path, shown: Path) -> Iterator[OpenedArchive]:
    """An archive to be read; `shown` is its name in messages.

    Raises:
        ValueError: it is not there, or no archive.
    """
    try:
        with zipfile.ZipFile(file) as found:
            yield OpenedArchive(found, str(shown))
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{shown} is no archive of a study ({error})") from error


def _write(
    file: zipfile.ZipFile, ledger: Ledger, study: str, report: ArtifactFolder, artifacts: ArtifactFolder
) -> ArchiveSummary:
    hashes: dict[str, str] = {}
    sizes: dict[str, int] = {}

    def add(name: str, content: IO[bytes]) -> None:
        content.seek(0)
        digest, size = hashlib.sha256(), 0
        with file.open(name, "w", force_zip64=True) as out:
            while chunk := content.read(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        hashes[name], sizes[name] = digest.hexdigest(), size

    row = ledger.study(study)  # LedgerDamaged where it is not what was recorded
    counts = {}
    for table in whole_study.TABLES:
        with tempfile.TemporaryFile() as lines:
            counts[table] = whole_study.stored_rows(
                ledger.database, table, study, partial(_write_rows, lines)
            )
            add(_of_table(table), lines)
    for place, folder in (("report", report), ("artifacts", artifacts)):
        for name in folder.files():
            if (place, name) == ("artifacts", STAMP):  # what MLflow's store in this workspace holds
                continue
            add(f"{place}/{name}", io.BytesIO(folder.read(name)))
    try:
        program = version("groundrules")
    except PackageNotFoundError:
        program = "unknown"
    summary = ArchiveSummary(
        study=study,
        title=row.title,
        protocol_hash=row.protocol_hash,
        started_ms=row.started_ms,
        extends=whole_study.parent_of(ledger.database, study),
        rows=counts,
        bytes=sum(sizes.values()),
        files=hashes,
        groundrules=program,
        ledger_schema=SCHEMA_VERSION,
    )
    file.writestr(MANIFEST, json.dumps(asdict(summary), indent=1))
    return summary


def _write_rows(lines: IO[bytes], rows: Iterator[Row]) -> int:
    """One row a line, from the beginning of the file; how many."""
    lines.seek(0)
    lines.truncate()
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - the last one is the number
        lines.write(json.dumps(list(row)).encode() + b"\n")
    return count


def _of_table(table: str) -> str:
    return f"ledger/{table}.jsonl"
