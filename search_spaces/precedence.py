"""Our four packages are found before others of those names: in the current folder, or on PYTHONPATH.

Other people have packages named `trainers` and `reports`, too. Whichever of ours is imported first runs this
file by its path, since a package named `search_spaces` may be somebody else's; so it imports nothing of ours.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds our packages: a checkout, or an environment's site-packages."""
NAMES = ("search_spaces", "trainers", "reports", "studies")
"""Each may import the ones to its left."""
INTERFACE = "groundrules"
"""The package that users import."""
PLACES = {
    **dict.fromkeys(NAMES, str(ROOT)),
    # Of a checkout its source folder, which an installed copy does not have.
    INTERFACE: str(next(f for f in (ROOT / "studies" / "interface", ROOT) if f == ROOT or f.is_dir())),
}
"""Package -> the folder that holds it."""


class OursFirst:
    """Finds our packages at their place, and nothing else."""

    root = str(ROOT)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """As `importlib` asks; None for all other names."""
        return PathFinder.find_spec(fullname, [PLACES[fullname]]) if fullname in PLACES else None


def claim(package: str) -> None:
    """Sees to it that a package of ours finds the ones that it imports.

    Args:
        package: one of `NAMES`; it, and those to its left, are ours from now on.

    Raises:
        ImportError: another package of one of these names is imported already; the message names its file.
    """
    _leave_current_folder()
    for name in NAMES[: NAMES.index(package) + 1]:
        other = sys.modules.get(name)
        place = next(iter(_places(other)), None)
        if other is not None and place is not None and not Path(place).resolve().is_relative_to(ROOT):
            raise ImportError(
                f"{place} is in the way: it is imported as '{name}', which is the name of a package of "
                f"Groundrules, too; rename it, or import {package} of Groundrules before it",
                name=name,
                path=place,
            )
    if not any(getattr(finder, "root", None) == OursFirst.root for finder in sys.meta_path):
        sys.meta_path.insert(0, OursFirst())


def _places(module: Any) -> list[str]:
    """The file of a module; the folders of one that has none."""
    file = getattr(module, "__file__", None)
    return [file] if file else [str(folder) for folder in getattr(module, "__path__", ())]


def _leave_current_folder() -> None:
    """Takes the current folder off the path where Python was started with `-m` and a module of ours.

    Python puts it first, where any file in it is imported in place of the library of that name.
    """
    words = sys.orig_argv[1:]
    options = words[: words.index("-m")] if "-m" in words else words
    if len(words) < len(options) + 2 or not all(word.startswith("-") for word in options):
        return
    module, here = words[len(options) + 1], os.getcwd()
    if module.split(".")[0] in PLACES and sys.path[:1] == [here] and here != str(ROOT):
        del sys.path[0]
