"""A scratch copy of the tree with an environment of its own, in which faults are planted.

Its Python finds the copy before everything else, whoever starts it and wherever: a console script, a worker
of Ray's, a test's own process. So faults reach whatever a test starts, and never the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutations.faults import PACKAGES, Edit

INTERFACE = "studies/interface"
"""The folder that holds the package which users import."""

LEFT_OUT = (
    *(".git", ".venv", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    *("__pycache__", "build", "*.egg-info", "groundrules-workspace", "mlruns"),
)


class Tree:
    """A copy of the tree at `root`, below `folder`."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "tree"
        shutil.copytree(root, self.root, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        _environment(self.root, root)
        # By the hash of sources: a fault of equal size, planted within a second, is compiled all the same.
        compileall = (self.python, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash")
        subprocess.run([*compileall, *PACKAGES, "tests"], cwd=self.root, check=True)

    @property
    def python(self) -> str:
        return str(self.root / ".venv/bin/python")

    @contextmanager
    def with_fault(self, edit: Edit | None) -> Iterator[None]:
        """The tree with one file changed; with None as it is."""
        if edit is None:
            yield
            return
        path = self.root / edit.file
        before = path.read_text(encoding="utf-8")
        path.write_text(edit.text, encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")


def _environment(tree: Path, root: Path) -> None:
    """A virtual environment that has the libraries of this one, and the tree in place of ours."""
    venv, ours = tree / ".venv", Path(sys.prefix)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = venv / "lib" / python / "site-packages"
    (venv / "bin").mkdir(parents=True)
    packages.mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(
        f"home = {Path(sys.executable).resolve().parent}\ninclude-system-site-packages = false\n"
        f"version = {sys.version.split()[0]}\n",
        encoding="utf-8",
    )
    for name in ("python", "python3", python):
        (venv / "bin" / name).symlink_to(Path(sys.executable).resolve())
    # Lines of a .pth file are searched in their order, and .pth files in these folders are not read again.
    libraries = [line for line in sys.path if Path(line).name in ("site-packages", "dist-packages")]
    (packages / "tree.pth").write_text(
        "\n".join([str(tree), str(tree / INTERFACE), *libraries]) + "\n", encoding="utf-8"
    )
    for script in sorted((ours / "bin").iterdir()):
        place = venv / "bin" / script.name
        if place.exists() or script.name.startswith(("python", "activate", "Activate")):
            continue
        if script.name == "groundrules":
            lines = script.read_text(encoding="utf-8").splitlines()
            place.write_text("\n".join([f"#!{venv / 'bin/python'}", *lines[1:]]) + "\n", encoding="utf-8")
            os.chmod(place, 0o755)
        else:
            place.symlink_to(script)
    assert str(root) not in libraries
