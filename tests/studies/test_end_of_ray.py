"""Nothing of Ray's outlives the engine: Ray's library ends a process that frees it later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.blackbox.program import environment
from tests.rehearsal.ray_nodes import RayNodes

ROOT = Path(__file__).parents[2]


def session(folder: Path, *kinds: str, more: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """What a session of its own has said of each run; AssertionError where it was ended."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.studies.session_with_ray", folder, *kinds],
        cwd=ROOT, env=environment(**(more or {})), capture_output=True, text=True, check=False, timeout=550,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


ENDS = {
    "guideline": "complete",
    "search": "complete",
    "scope": "complete",
    "interrupted": "KeyboardInterrupt",
    "error": "OSError",
    "cycle": "complete",
}


@pytest.mark.timeout(600)
def test_a_session_goes_on_after_every_kind_of_run_and_holds_nothing_of_rays(tmp_path: Path) -> None:
    assert session(tmp_path, *ENDS) == [
        {"kind": kind, "ended": ended, "held": {}, "times": 1} for kind, ended in ENDS.items()
    ]


@pytest.mark.timeout(600)
def test_a_cluster_that_was_there_is_left_with_nothing_of_it_in_hand(tmp_path: Path) -> None:
    nodes = RayNodes(tmp_path, workers=0)
    try:
        nodes.start()
        more = {"RAY_AUTH_TOKEN": nodes.token, "RAY_ADDRESS": f"127.0.0.1:{nodes.port}"}
        assert session(tmp_path, "attached", more=more) == [
            {"kind": "attached", "ended": "complete", "held": {}, "times": 1}
        ]
    finally:
        nodes.stop()
