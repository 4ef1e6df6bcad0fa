"""What every test runs under: silent libraries, one thread, a workspace of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, browser, missing_browser
from tests.postgres import postgres  # noqa: F401 - a fixture
from tests.surroundings import SILENCE, THREADS, do_without

# Here, before any test imports a library: each reads these once.
os.environ.update(SILENCE | THREADS | {"MPLBACKEND": "Agg"})
for name in ("WORKSPACE", "SITE", "CLUSTER", "LEDGER", "TRACKING", "ARTIFACTS"):
    os.environ.pop(f"GROUNDRULES_{name}", None)  # where whoever runs the tests has theirs
# A shell ignores Ctrl-C in what it starts in the background, and so would all that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace that does not exist yet, as a user's first run finds it."""
    return tmp_path / "workspace"


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    """A headless browser; skipped with the reason where there is none, unless the run promised one."""
    reason = missing_browser()
    if reason is not None:
        do_without("browser", reason)
    with browser(tmp_path / "chromium") as tab:
        yield tab
