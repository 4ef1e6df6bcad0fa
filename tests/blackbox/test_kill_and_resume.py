"""kill -9 at random moments, then the same command again: nothing lost, nothing twice, nothing different.

Two kills by default. More, and a fixed sequence of them, by the environment:

    GROUNDRULES_KILLS=10 GROUNDRULES_KILL_SEED=1 pytest -s -k killed_at_random
"""

from __future__ import annotations

import csv
import io
import os
import random
import sqlite3
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.blackbox.program import TINY, contents, groundrules, kill_group, start, survivors

KILLS = int(os.environ.get("GROUNDRULES_KILLS", "2"))
SEED = int(os.environ.get("GROUNDRULES_KILL_SEED", str(random.SystemRandom().randrange(10_000))))


def members(workspace: Path) -> int:
    """Members in the ledger now; 0 where there is no ledger yet."""
    file = workspace / "ledger.sqlite"
    if not file.is_file():
        return 0
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM evaluations").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError:  # it is being made
        return 0


def homes(mark: str) -> set[Path]:
    """The home folders of all processes that carry the mark."""
    found = set()
    for pid in survivors(mark, patience=0):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found |= {Path(os.fsdecode(word[5:])) for word in words if word.startswith(b"HOME=")}
    return found


def titled(title: str, homes: set[Path]) -> bool:
    """Whether a process with this title writes below one of the folders."""
    for pid in (path.name for path in Path("/proc").iterdir() if path.name.isdigit()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title.encode()):
                files = {Path(os.readlink(link)) for link in Path(f"/proc/{pid}/fd").iterdir()}
                if any(file.is_relative_to(home) for file in files for home in homes):
                    return True
    return False


def wait(process: subprocess.Popen[bytes], workspace: Path, *, members_at_least: int, seconds: float) -> None:
    """Until the ledger holds so many members, then `seconds` more; or until the process ends."""
    while process.poll() is None and members(workspace) < members_at_least:
        time.sleep(0.02)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)


@pytest.mark.timeout(400)
def test_nothing_of_ray_outlives_a_driver_that_was_killed(tmp_path: Path) -> None:
    workspace, log = tmp_path / "ws", tmp_path / "log"
    process, mark = start(
        "run", TINY, "--engine", "ray", "--workers", "2", workspace=workspace, cwd=tmp_path, log=log
    )
    wait(process, workspace, members_at_least=1, seconds=0)
    assert process.poll() is None, log.read_text(encoding="utf-8")
    own = {home for home in homes(mark) if (home / "lock").exists()}
    assert len(own) == 1, own
    for _ in range(100):  # Ray's agents write their titles over their environments
        if titled("ray::DashboardAgent", own):
            break
        time.sleep(0.05)
    process.kill()  # and nobody else: not its group
    process.wait()
    assert survivors(mark, patience=10) == []
    assert not own.pop().exists()


@pytest.mark.timeout(150 * (KILLS + 3))
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    quiet, killed, log = tmp_path / "quiet", tmp_path / "killed", tmp_path / "killed.log"
    began = time.monotonic()
    groundrules("run", TINY, "--engine", "ray", "--workers", "2", workspace=quiet, cwd=tmp_path)
    whole = time.monotonic() - began
    total = members(quiet)
    print(f"seed {SEED}: {KILLS} kills; undisturbed {whole:.0f} s, {total} members")

    # Half of the moments are drawn in progress and half in time from the start of the command, both from
    # spans that leave something to do for the kills that follow.
    draw = random.Random(SEED)
    marks, moments = [], []
    landed = 0
    while landed < KILLS:
        process, mark = start(
            "run", TINY, "--engine", "ray", "--workers", "2", workspace=killed, cwd=tmp_path, log=log
        )
        marks.append(mark)
        done, to_come = members(killed), KILLS - landed
        if landed % 2:
            wait(process, killed, members_at_least=0, seconds=draw.uniform(0, 2 * whole / (KILLS + 1)))
        else:
            goal = done + 1 + draw.randrange(max(1, 2 * (total - done) // (to_come + 1)))
            wait(process, killed, members_at_least=min(goal, total), seconds=draw.uniform(0, 0.5))
        if process.poll() is None:
            kill_group(process)
            landed += 1
            moments.append(members(killed))
        else:  # the moment lay behind its end, which must then be a good one
            assert process.returncode == 0, log.read_text(encoding="utf-8", errors="replace")[-6000:]
    print(f"members in the ledger at each kill: {moments}")
    groundrules("run", TINY, "--engine", "ray", "--workers", "2", workspace=killed, cwd=tmp_path)

    for command in (("results", "tiny", "--format", "csv"), ("export", "tiny", "--format", "yaml")):
        expected = groundrules(*command, workspace=quiet, cwd=tmp_path).out
        assert groundrules(*command, workspace=killed, cwd=tmp_path).out == expected, command
    ids = [
        row["id"]
        for row in csv.DictReader(
            io.StringIO(groundrules("results", "tiny", "--format", "csv", workspace=killed, cwd=tmp_path).out)
        )
    ]
    assert len(ids) == len(set(ids)) == total
    assert contents(killed / "reports") == contents(quiet / "reports")
    left = {mark: survivors(mark, patience=30) for mark in marks}
    assert not any(left.values()), f"processes of killed runs are still there: {left}"
