"""A cluster that is there is used with its token only, and by as much as it has room for."""

from __future__ import annotations

from pathlib import Path

import pytest

import studies.execution.existing_cluster
from studies.execution.existing_cluster import ROOT, ExistingCluster, room
from tests.blackbox.program import TINY, groundrules, invoked
from tests.security.ray_calls import TOKEN, gcs_address, ray_head
from tests.security.secrets_kept import variables


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without any token."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("resources", "share", "places"),
    [
        ({"CPU": 3.0}, 0.0, 3),
        ({"CPU": 3.5, "GPU": 8.0}, 0.0, 3),
        ({"CPU": 8.0, "GPU": 2.0}, 0.25, 8),
        ({"CPU": 4.0, "GPU": 2.0}, 0.25, 4),
        ({"CPU": 64.0, "GPU": 2.0}, 0.3, 6),
        ({"CPU": 8.0}, 0.5, 0),
        ({}, 0.0, 0),
    ],
)
def test_a_worker_takes_a_cpu_and_its_share_of_a_gpu(
    resources: dict[str, float], share: float, places: int
) -> None:
    assert room(resources, share) == places


@pytest.mark.usefixtures("nobody")
def test_without_a_token_no_cluster_is_used(workspace: Path) -> None:
    ran = invoked("run", TINY, "--cluster", "auto", workspace=workspace)
    assert ran.code == 2
    assert "no token for this cluster" in ran.err and len(ran.err.strip().splitlines()) == 1
    assert not workspace.exists()


def test_a_cluster_that_is_told_to_ask_for_no_token_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.execution.existing_cluster, "MODE_FOUND", "disabled")
    with pytest.raises(ValueError, match="RAY_AUTH_MODE=disabled here"):
        ExistingCluster()


@pytest.mark.parametrize(("auth", "code"), [("disabled", 2), ("token", 0)])
def test_a_cluster_that_lets_everybody_in_is_not_used(
    workspace: Path, tmp_path: Path, auth: str, code: int
) -> None:
    """A real head of each kind: only the one that asks for the token trains."""
    with (
        ray_head(tmp_path, auth=auth) as (_, mark),
        variables(RAY_ADDRESS=gcs_address(mark), RAY_AUTH_TOKEN=TOKEN),
    ):
        ran = groundrules("run", TINY, "--cluster", "auto", workspace=workspace, cwd=tmp_path, expect=code)
    refused = "this cluster answers without a token, so whoever reaches it can run code on it"
    assert (refused in ran.err) == (code == 2)


def test_more_workers_than_there_is_room_for_may_be_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    assert ExistingCluster(workers=500).workers == 500


def test_the_task_file_of_a_job_is_named_as_every_node_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    place = ExistingCluster()
    assert place.carried(ROOT / "shipped" / "my_tasks.py") == "shipped/my_tasks.py"
    assert place.carried(tmp_path / "my_tasks.py") == str(tmp_path / "my_tasks.py")
    assert place.carried(None) is None
    with pytest.raises(ValueError, match="cannot be sent to other machines"):
        place.carried({"mine": lambda: None})  # type: ignore[dict-item,return-value]
