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

LONGEST = (
    "tests/rehearsal/test_rehearsal.py",
    "tests/faults/test_rows.py",
    "tests/studies/test_workers.py",
    "tests/studies/test_shared_tracking.py",
    "tests/studies/test_tracking.py",
    "tests/security/test_attacks.py",
    "tests/blackbox/test_no_network.py",
    "tests/blackbox/test_kill_and_resume.py",
    "tests/blackbox/test_bad_input.py",
    "tests/studies/test_placement.py",
)
"""Files of a minute and more: begun first, or one process would be left with one of them at the end."""


SLOW = (*LONGEST,)
"""Files that `make test-fast` leaves out: they start programs, Ray, servers or browsers, or train long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all others as they were found; what is not slow is marked as fast."""
    root = Path(__file__).parents[1]
    places = {root / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))
    slow = {root / name for name in SLOW}
    for item in items:
        if item.path not in slow:
            item.add_marker("fast")


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
