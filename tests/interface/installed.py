"""The package as users have it: built as a wheel and unpacked into an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.test_architecture import LINE, ROOT


def wheel(folder: Path) -> Path:
    """The wheel of a copy of the sources: nothing is built in the checkout, and nothing is fetched."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in LINE:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))",
            ),
            str(folder),
        ],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path, built: Path) -> Path:
    """The interpreter of a virtual environment with the wheel in it, beside the libraries of this one."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(packages)
    libraries = [line for line in sys.path if Path(line).name in ("site-packages", "dist-packages")]
    (packages / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    script = venv / "bin" / "groundrules"
    script.write_text(
        f"#!{venv / 'bin' / 'python'}\nfrom groundrules import main\nmain()\n", encoding="utf-8"
    )
    os.chmod(script, 0o755)
    return venv / "bin" / "python"
