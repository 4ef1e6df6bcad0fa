"""Copies a report to where MLflow shows it: a folder, or whatever address fsspec understands.

The new report replaces the earlier one whole. Symlinks are neither followed nor copied, on either side.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from reports.io.safe_paths import PART, LinkInTheWay, make_folder, own_folder, write
from studies.tracking.runs import study_run_id

if TYPE_CHECKING:
    from studies.site import Site

ARTIFACTS = "artifacts"
"""The folder of a workspace that holds the artifacts of its studies."""
FRONT = "index.html"


def location_of(site: Site, study: str) -> str:
    """The address of a study's artifacts: below the site's, else in the workspace."""
    if not site.artifacts:
        return (site.workspace.resolve() / ARTIFACTS / study).as_uri()
    if "://" in site.artifacts:
        return f"{site.artifacts.rstrip('/')}/{study}"
    return (Path(os.path.expanduser(site.artifacts)).absolute() / study).as_uri()


def artifacts_of(location: str, run: str) -> str:
    """Where MLflow looks for the artifacts of a run."""
    return f"{location}/{run}/artifacts"


def report_address(location: str, study: str) -> str:
    """Where the report of a study lies whose run's id is ours."""
    return f"{artifacts_of(location, study_run_id(study))}/report"


def report_files(folder: Path) -> dict[str, Path]:
    """Name below `folder` -> file, for everything in it that is no symlink; its front page comes last."""
    found = {}
    for place, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not (Path(place) / name).is_symlink())
        for file in (Path(place) / name for name in sorted(names)):
            if file.is_file() and not file.is_symlink() and not file.name.endswith(PART):
                found[file.relative_to(folder).as_posix()] = file
    return dict(sorted(found.items(), key=lambda pair: pair[0] == FRONT))


def replace_report(folder: Path, address: str) -> None:
    """Puts the files of `folder` at `address`, in place of all that was there.

    Args:
        folder: of the report.
        address: file://..., or of a store that fsspec knows (its package must be installed).

    Raises:
        ValueError: the address leads through a symlink.
        OSError, DiskFull: the place cannot be written; ImportError: fsspec lacks the store's package.
    """
    files = report_files(folder)
    if urlsplit(address).scheme in ("", "file"):
        _replace_folder(files, Path(unquote(urlsplit(address).path)))
    else:
        _replace_objects(files, address)


def _replace_folder(files: Mapping[str, Path], place: Path) -> None:
    """File by file, the front page last, then what is left over goes: a kill leaves a page that is whole."""
    _refuse_links(place)
    make_folder(place)
    for name, file in files.items():
        own_folder(place, *Path(name).parts[:-1])
        write(place / name, file.read_bytes())
    for below, folders, names in os.walk(place, topdown=False, followlinks=False):
        for left in (Path(below) / name for name in names):
            if left.relative_to(place).as_posix() not in files:
                left.unlink()
        for left in (Path(below) / name for name in folders):
            if left.is_symlink():
                left.unlink()
            elif not any(left.iterdir()):
                left.rmdir()


def _refuse_links(place: Path) -> None:
    """The last folders are ours (study, run, artifacts, report): none of them leads elsewhere."""
    for folder in (place, *list(place.parents)[:3]):  # a shared folder above them may be one
        if folder.is_symlink():
            raise LinkInTheWay(f"{folder} is a symlink; the report is not written through it")


def _replace_objects(files: Mapping[str, Path], address: str) -> None:
    """There is no renaming in an object store: the front page comes last, then what is left over goes."""
    import fsspec

    store, root = fsspec.core.url_to_fs(address)
    store.invalidate_cache()
    held = {str(path) for path in store.find(root)} if store.exists(root) else set()
    written = set()
    for name, file in files.items():
        path = f"{root.rstrip('/')}/{name}"
        store.makedirs(path.rpartition("/")[0], exist_ok=True)
        store.put_file(str(file), path)
        written.add(path)
    for path in sorted(held - written):
        store.rm_file(path)
