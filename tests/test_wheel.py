"""The wheel holds every file that the program reads, and nothing else."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.ranges.wheel import ROOT, built

PACKAGES = ("groundrules", "reports", "search_spaces", "studies", "trainers")
INTERFACE = "studies/interface/"
"""Holds the package that users import, which the wheel has under its own name."""
LEFT_OUT = {"README.md"}
"""Names of files of the packages that are for readers of the source alone."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(built(tmp_path_factory.mktemp("wheel"), isolated=False))
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"{error}\n{error.stdout}\n{error.stderr}") from None


def in_tree() -> set[str]:
    """Every file of the packages that git knows or would."""
    listed = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
        *(package for package in PACKAGES if package != "groundrules"),
    ]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    return {name.removeprefix(INTERFACE) for name in names if name and (ROOT / name).is_file()}


def test_every_file_of_the_packages_is_in_the_wheel_as_it_is(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if name.startswith(tuple(f"{p}/" for p in PACKAGES))}
    missing = {name for name in in_tree() - held if Path(name).name not in LEFT_OUT}
    assert missing == set()
    assert held <= in_tree()
    for name in sorted(held):
        file = ROOT / (INTERFACE if name.startswith("groundrules/") else "") / name
        assert wheel.read(name) == file.read_bytes(), name


def test_beside_the_packages_there_is_what_pip_needs(wheel: zipfile.ZipFile) -> None:
    others = {name.partition("/")[0] for name in wheel.namelist()} - set(PACKAGES)
    assert {name for name in others if not name.endswith(".dist-info")} == set()
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "groundrules = groundrules:main" in wheel.read(points).decode()
