"""The wheel of this tree, built as a user's pip would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def built(folder: Path, *, isolated: bool = True) -> Path:
    """The wheel of this tree: of a copy, because setuptools would take in what an earlier build has left.

    Args:
        folder: where it comes.
        isolated: with the newest setuptools from the index; else with the one that is installed.
    """
    source = folder / "source"
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in filter(None, called(listed).split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", *([] if isolated else ["--no-build-isolation"])]
    called([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(source)])
    shutil.rmtree(source)
    (wheel,) = folder.glob("groundrules-*.whl")
    return wheel


def called(words: Sequence[str], cwd: Path | None = None) -> str:
    """The standard output; CalledProcessError with both outputs where it fails."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDRULES", "PYTHON"))}
    return subprocess.run(words, cwd=cwd, env=clean, check=True, capture_output=True, text=True).stdout
