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
    "tests/studies/test_ray_workers.py",
    "tests/studies/test_shared_tracking.py",
    "tests/studies/test_tracking.py",
    "tests/security/test_attacks.py",
    "tests/blackbox/test_no_network.py",
    "tests/blackbox/test_kill_and_resume.py",
    "tests/blackbox/test_bad_input.py",
    "tests/studies/test_placement.py",
    "tests/blackbox/test_surroundings.py",
    "tests/blackbox/test_links.py",
    "tests/blackbox/test_whole_files.py",
    "tests/blackbox/test_names.py",
    "tests/studies/test_end_of_ray.py",
    "tests/studies/test_own_networks.py",
    "tests/studies/test_cluster_status.py",
    "tests/studies/test_mlflow_restored.py",
    "tests/docs/test_commands.py",
)
"""Files of a minute and more: begun first, or one process would be left with one of them at the end."""

SLOW = (
    *LONGEST,
    "tests/docs/test_pictures.py",
    "tests/docs/test_site.py",
    "tests/infra/test_scripts.py",
    "tests/interface/test_examples.py",
    "tests/interface/test_installed.py",
    "tests/interface/test_runs.py",
    "tests/mutations/test_mutations.py",
    "tests/reports/test_claim_cards.py",
    "tests/reports/test_claim_properties.py",
    "tests/reports/test_every_field.py",
    "tests/reports/test_study_page.py",
    "tests/reports/test_torch_file.py",
    "tests/search_spaces/test_initializers.py",
    "tests/search_spaces/test_optimizers.py",
    "tests/studies/test_restart_after_failure.py",
    "tests/studies/test_existing_cluster.py",
    "tests/studies/test_spec_limits.py",
    "tests/studies/test_cli.py",
    "tests/studies/test_exported_file.py",
    "tests/studies/test_exporting.py",
    "tests/studies/test_extension.py",
    "tests/studies/test_grown_catalogue.py",
    "tests/studies/test_guidelines.py",
    "tests/studies/test_image_sets.py",
    "tests/studies/test_ledger.py",
    "tests/studies/test_ledger_file.py",
    "tests/studies/test_ledger_postgresql.py",
    "tests/studies/test_mlflow_sqlite.py",
    "tests/studies/test_protocol.py",
    "tests/studies/test_plan_text.py",
    "tests/studies/test_processors.py",
    "tests/studies/test_publishing.py",
    "tests/studies/test_questions.py",
    "tests/studies/test_races.py",
    "tests/studies/test_cluster_connection.py",
    "tests/studies/test_run.py",
    "tests/studies/test_scope.py",
    "tests/studies/test_seal.py",
    "tests/studies/test_searching.py",
    "tests/studies/test_shipped_studies.py",
    "tests/studies/test_study_archive.py",
    "tests/studies/test_study_removal.py",
    "tests/studies/test_unjudged.py",
    "tests/trainers/test_every_level.py",
    "tests/trainers/test_known_results.py",
    "tests/trainers/test_mixed_packs.py",
    "tests/trainers/test_network_identity.py",
    "tests/trainers/test_own_initialization.py",
    "tests/trainers/test_own_networks.py",
    "tests/trainers/test_read_by_networks.py",
    "tests/trainers/test_refused_networks.py",
    "tests/trainers/test_pack.py",
    "tests/trainers/test_pack_properties.py",
    "tests/trainers/test_signal_probes.py",
)
"""Files that `make test-fast` leaves out, besides tests/blackbox: they start Ray or servers, or take
9 s and more on a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all others as they were found; what is not slow is marked as fast."""
    root = Path(__file__).parents[1]
    places = {root / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))
    slow, programs = {root / name for name in SLOW}, root / "tests" / "blackbox"
    for item in items:
        if item.path not in slow and programs not in item.path.parents:
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
