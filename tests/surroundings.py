"""What tests set in their environment, and what a run of them promised to have."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

SILENCE = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Only for tests that use the libraries directly; the program must be silent without them."""

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def of_this_machine() -> dict[str, str]:
    """What all processes of a machine have, whoever starts them: language, time, and the kernels of numpy's
    products, on which the last bits of a training hang.
    """
    names = ("LANG", "LC_ALL", "TZ", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    return {name: os.environ[name] for name in names if name in os.environ}


def do_without(what: str, reason: str) -> NoReturn:
    """Skips the test for want of `what`; fails it where GROUNDRULES_TESTS_REQUIRE promised it."""
    promised = os.environ.get("GROUNDRULES_TESTS_REQUIRE", "").split(",")
    if what in promised:
        pytest.fail(reason)
    pytest.skip(reason)


def installed_tool(name: str) -> str:
    """A command that the `dev` extra installs: beside this interpreter, or on the PATH.

    `make test` calls the interpreter by its path, so the folder of its commands need not be on the PATH.
    """
    folders = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    tool = shutil.which(name, path=folders)
    if tool is None:
        do_without("linters", f"{name} is not installed: pip install -e '.[dev,docs]'")
    return tool
