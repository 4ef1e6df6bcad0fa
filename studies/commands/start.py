"""The files that `groundrules init` writes: a commented study and a file of tasks, ready to be planned."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

FILES = {"study.yaml": "study.yaml", "tasks.py": "tasks.txt"}
"""What is written -> the template it comes from."""


def write_templates(folder: Path) -> tuple[Path, Path]:
    """Writes study and tasks into `folder`, made where missing.

    Returns:
        The study file and the file of tasks.

    Raises:
        ValueError: one of them is there already (nothing is written then), or the folder cannot be written.
    """
    there = [str(folder / name) for name in FILES if os.path.lexists(folder / name)]
    if there:
        raise ValueError(f"{' and '.join(there)} exist already; nothing was written (choose another folder)")
    from reports.io.safe_paths import create, make_folder

    templates = resources.files("studies").joinpath("templates")
    try:
        make_folder(folder)
        for name, template in FILES.items():
            text = templates.joinpath(template).read_text(encoding="utf-8")
            create(folder / name, text)
    except OSError as error:
        raise ValueError(f"cannot write into {folder} ({error.strerror})") from error
    return folder / "study.yaml", folder / "tasks.py"
