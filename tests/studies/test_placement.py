"""Where packs run: shares of GPUs, and workers that outlive the generations.

The GPUs are declared, not there: Ray hands out what it is told of. No pack has ever run on a real GPU.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import studies.execution.ray_workers
from studies.execution.failure_kinds import ClusterLost
from studies.execution.local_cluster import gpus, sharing, started_too_slowly
from studies.execution.pack_payload import member_from_dict
from studies.execution.pack_trainer import PackTrainer
from studies.execution.prestart import is_new
from studies.execution.ray_workers import run_ray
from studies.run import run
from tests.studies.planted import outcome
from tests.studies.test_ray_workers import open_study, small, user_file

MEETING = "GROUNDRULES_TEST_MEETING"
WORKERS, SHARE = 4, 0.5


@pytest.fixture(autouse=True)
def workers_import_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainers of this file are found in worker processes by name; what is installed holds no tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


class PlacedTrainer(PackTrainer):
    """Answers from the slots alone, and tells where it ran; the first pack of each waits for all workers."""

    def answered(self, order: str) -> str:
        import ray

        context: Any = ray.get_runtime_context()
        began = time.time()
        folder = Path(os.environ[MEETING])
        (folder / f"{os.getpid()}.here").touch()
        while len(list(folder.glob("*.here"))) < WORKERS and time.time() < began + 120:
            time.sleep(0.02)
        time.sleep(0.05)
        fact = {
            "pid": os.getpid(),
            "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
            "share": context.get_assigned_resources().get("GPU"),
            "began": began,
            "ended": time.time(),
        }
        members = [member_from_dict(row) for row in json.loads(order)["members"]]
        found = {
            "evaluations": [outcome(member).plain() for member in members],
            "seconds": 0.0,
            "worker": json.dumps(fact),
        }
        return json.dumps(found)


class LateTrainer(PackTrainer):
    """Answers from the slots alone; all workers but the first take their time to start."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        try:
            (Path(os.environ[MEETING]) / "first").touch(exist_ok=False)
        except FileExistsError:
            time.sleep(3)

    def answered(self, order: str) -> str:
        time.sleep(0.1)
        members = [member_from_dict(row) for row in json.loads(order)["members"]]
        found = [outcome(member).plain() for member in members]
        return json.dumps({"evaluations": found, "seconds": 0.1, "worker": str(os.getpid())})

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        PackTrainer.setup(self, new_config)
        return True


def most_at_once(facts: Sequence[dict[str, Any]]) -> int:
    """How many of the packs overlapped in time."""
    return max(len([a for a in facts if a["began"] <= b["began"] < a["ended"]]) for b in facts)


def test_workers_share_gpus_by_fractions_and_live_as_long_as_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEETING, str(tmp_path))
    monkeypatch.setattr(studies.execution.ray_workers, "PackTrainer", PlacedTrainer)
    spec = small("stripes", "specks", regimes={"shallow": {"depth": 1}, "deep": {"depth": 3}})
    file = user_file(tmp_path, "specks")
    ledger, agenda = open_study(tmp_path / "ws", spec, file)
    with ledger:
        run_ray(agenda, tasks_from=file, workers=WORKERS, gpu_fraction=SHARE)
        facts = [json.loads(a.worker) for a in ledger.attempts(spec.study) if a.kind == "committed"]
    assert agenda.done and not agenda.failed_packs
    assert {fact["share"] for fact in facts} == {SHARE}
    workers = {(fact["pid"], fact["gpu"]) for fact in facts}
    assert len(workers) == WORKERS, "every worker keeps its process and its GPU to the end"
    assert Counter(gpu for _, gpu in workers) == {"0": 2, "1": 2}
    assert most_at_once(facts) == WORKERS
    for gpu in ("0", "1"):
        assert most_at_once([fact for fact in facts if fact["gpu"] == gpu]) == 2


def test_a_worker_that_starts_late_is_waited_for_not_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEETING, str(tmp_path))
    monkeypatch.setattr(studies.execution.ray_workers, "PackTrainer", LateTrainer)
    file = user_file(tmp_path, "specks")
    ledger, agenda = open_study(tmp_path / "ws", small("stripes", "specks"), file)
    with ledger:
        run_ray(agenda, tasks_from=file, workers=2)
        workers = {a.worker for a in ledger.attempts(agenda.study) if a.kind == "committed"}
    assert agenda.done and not agenda.failed_packs
    assert len(workers) == 2


@pytest.mark.parametrize(
    ("workers", "share", "room", "needed"),
    [(8, 0.25, 4, 2), (4, 0.25, 4, 1), (10, 0.1, 10, 1), (10, 0.3, 3, 4), (2, 1.0, 1, 2), (4, 0.7, 1, 4)],
)
def test_no_share_lies_on_two_gpus(workers: int, share: float, room: int, needed: int) -> None:
    assert sharing(share) == room
    assert gpus(workers, share) == needed
    assert gpus(workers, 0.0) == 0


@pytest.mark.parametrize(
    "said",
    [
        "The current node timed out during startup. This could happen because",
        "Timed out waiting for file /tmp/groundrules-1/r/session/gcs_server_port_17feb9",
    ],
)
def test_a_machine_too_busy_for_ray_is_a_lost_cluster(said: str) -> None:
    told = started_too_slowly(RuntimeError(said))
    assert isinstance(told, ClusterLost)
    assert "too busy" in str(told)


def test_what_else_ends_a_start_is_told_as_it_is() -> None:
    other = OSError("no space left")
    assert started_too_slowly(other) is other


def test_a_device_of_ones_own_choice_and_shares_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Ray chooses the GPU of each worker; say 'cuda'"):
        run(small("stripes"), workspace=tmp_path, device="cpu:0", gpu_fraction=0.5)


def test_workers_start_early_where_a_study_is_new_and_nowhere_else(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    file = user_file(tmp_path, "specks")
    study = tmp_path / "small.yaml"
    study.write_text('study: "tiny" # a name\ntitle: x\n', encoding="utf-8")
    assert is_new("quickstart", workspace)
    assert is_new(str(study), workspace)
    assert not is_new(str(tmp_path / "missing.yaml"), workspace)
    ledger, _ = open_study(workspace, small("stripes", "specks"), file)
    ledger.close()
    assert is_new("quickstart", workspace)
    assert not is_new(str(study), workspace)
