"""Whether it pays to start the workers before a study file is read: told without the seconds torch takes."""

from __future__ import annotations

import re
from pathlib import Path

from reports.io.safe_paths import read_bounded
from studies.ledger.ledger import Ledger

SPECS = Path(__file__).parents[1] / "specs"


def is_new(path_or_name: str, workspace: Path) -> bool:
    """Whether this looks like a study file whose study the workspace does not hold yet.

    Only a guess: what is wrong with the file, or with the workspace, is told by those who read them.
    """
    shipped = SPECS / f"{path_or_name}.yaml"
    try:
        text = read_bounded(shipped if shipped.is_file() else Path(path_or_name)).decode("utf-8")
        named = re.search(r"""^study:\s*["']?([^\s"'#]+)""", text, re.MULTILINE)
        found = Ledger.find(workspace) if named else None
        if named is None or found is None:
            return named is not None and (Path(workspace).is_dir() or not Path(workspace).exists())
        with found as ledger:
            return ledger.find_study(named[1]) is None
    except (OSError, ValueError):
        return False
