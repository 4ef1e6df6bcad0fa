"""The way out where Ray's head has died under a question: the command begins again in its own place."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from studies.execution import restart
from studies.ledger.ledger import Ledger
from studies.run import run
from tests.studies.test_ray_workers import small, small_plain

PROGRAM = """
import os
from pathlib import Path

import ray
import studies.execution.ray_workers
from studies.cli import main

asked = studies.execution.ray_workers.PackSearcher.suggest
killed = Path({killed!r})


def suggest(self, trial_id):
    found = asked(self, trial_id)
    if found is not None and self._dispatcher.scheduler.finished and not killed.exists():
        killed.write_text(str(os.getpid()))
        gcs = ray._private.worker._global_node.all_processes["gcs_server"][0].process
        gcs.kill()
        gcs.wait()  # the program has just looked, and Tune asks the head next
    return found


studies.execution.ray_workers.PackSearcher.suggest = suggest
main()
"""


def test_a_question_to_a_dead_head_does_not_end_the_study(tmp_path: Path) -> None:
    killed, study = tmp_path / "killed", small("wine", "breast_cancer")
    (tmp_path / "program.py").write_text(PROGRAM.format(killed=str(killed)))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(small_plain("wine", "breast_cancer")))
    running = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", "run", tmp_path / "study.yaml",
         "--workspace", tmp_path / "hit", "--workers", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said, told = running.communicate(timeout=300)
    finally:
        running.kill()
    assert running.returncode == 2, said + told  # all is trained, and of so few updates nothing can be judged
    assert killed.read_text() == str(running.pid), "the head was killed by another process than the one begun"
    assert told.count("gcs_server ended") == told.count("the command begins again") == 1, told

    run(study, workspace=tmp_path / "quiet", engine="inline")
    assert trained(tmp_path / "hit", study.study) == trained(tmp_path / "quiet", study.study)


def trained(workspace: Path, study: str) -> dict[str, float]:
    """Evaluation -> its metric."""
    with Ledger.open(workspace) as ledger:
        return {row.id: row.validation_metric for row in ledger.evaluations(study)}


def test_only_the_program_itself_is_replaced_and_only_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with restart.at_work():
        assert not restart.can_restart()
        monkeypatch.setattr(restart, "_allowed", True)
        assert restart.can_restart()
        monkeypatch.setenv("GROUNDRULES_BEGUN_ANEW", str(restart.MOST))
        assert not restart.can_restart()
        monkeypatch.delenv("GROUNDRULES_BEGUN_ANEW")
    with suppress(KeyboardInterrupt), restart.at_work():
        raise KeyboardInterrupt
    assert not restart.can_restart()
