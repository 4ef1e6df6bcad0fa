"""Which code made a number."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata


@cache
def versions() -> dict[str, str]:
    """Versions of what can move a result in its last digits: python, torch, numpy, this package."""
    installed = {"python": platform.python_version()}
    for name in ("torch", "numpy", "groundrules"):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "source"
    return installed
