"""What a killed driver leaves of its cluster is ended, whatever its title, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studies.execution import watchdog

PROCESS = "import sys, time; file = open(sys.argv[1], sys.argv[2]); print(flush=True); time.sleep(600)"


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """The folder of a driver that is gone."""
    folder = tmp_path / "groundrules-0" / "tmpabc"
    (folder / "r").mkdir(parents=True)
    (folder / "r" / "log").touch()
    (folder.with_name("tmpabcd")).mkdir()
    (folder.with_name("tmpabcd") / "log").touch()
    return folder


def process(file: Path, mode: str, home: Path) -> subprocess.Popen[bytes]:
    """A process with a home that has `file` open."""
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROCESS, str(file), mode],
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.PIPE,
    )
    assert started.stdout is not None
    started.stdout.readline()
    return started


def test_every_process_of_the_cluster_is_ended_and_no_other(cluster: Path, tmp_path: Path) -> None:
    other = tmp_path / "home"
    log, of_another = cluster / "r" / "log", cluster.with_name("tmpabcd") / "log"
    ours = [
        process(of_another, "r", cluster),  # known by its home
        process(log, "a", other),  # by its log, as is one whose title has overwritten its environment
    ]
    driver = process(log, "a", cluster)
    others = [
        driver,
        process(log, "r", other),
        process(of_another, "a", other),
        process(of_another, "a", tmp_path),
    ]
    try:
        assert watchdog.kill_all(str(cluster), spare=driver.pid) == len(ours)
        assert [each.wait(timeout=30) for each in ours] == [-9, -9]
        time.sleep(0.2)
        assert [each.poll() for each in others] == [None] * 4
        assert watchdog.kill_all(str(cluster), spare=driver.pid) == 0
    finally:
        for each in (*ours, *others):
            each.kill()
            each.communicate()
