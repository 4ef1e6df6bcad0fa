"""The shim that stands before the C library, compiled when it is first needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "inside" / "shim.c"


def compiler() -> str | None:
    """A C compiler of this machine; None where there is none."""
    return shutil.which("cc") or shutil.which("gcc")


def built(folder: Path) -> Path:
    """The shim as a library in a folder."""
    library = folder / "shim.so"
    if not library.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        words = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(words, check=True, capture_output=True)
    return library


def spoiled(folder: Path, what: str, at: int, text: str) -> dict[str, str]:
    """The environment in which the `at`-th write to files with `text` in their path goes wrong.

    Args:
        folder: where the library lies, or is put.
        what: 'eio', 'enospc' (it fails, and all after it), or 'exit' (the process ends).
        at: counted from 1 in every process.
        text: of the path.
    """
    return {"LD_PRELOAD": str(built(folder)), "FAULTS_SHIM": f"{what}:{at}:{text}"}
