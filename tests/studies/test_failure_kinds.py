"""Causes of lost packs are told apart, by what Ray says and by what the worker has left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search_spaces.config import Config
from studies.execution.crash_traces import trace_of, traced
from studies.execution.failure_kinds import (
    WorkersCannotStart,
    by_kind,
    of_exception,
    of_lost_start,
    of_lost_worker,
    sentence,
)
from studies.execution.worker_starts import ERRORS, LOSSES, NEVER_SECONDS, WorkerStarts
from studies.ledger.ledger import Attempt
from tests.trainers.packs import blobs, member
from trainers.loop.pack import train_pack

DIED = (
    "The actor died unexpectedly before finishing this task. The actor is dead because its worker process "
    "has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
    "connection error code 2. End of file. Some common causes include: (1) the process was killed by the "
    "OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed "
    "unexpectedly due to SIGSEGV or another unexpected error."
)
"""As Ray 2.60 words it, whatever the reason was."""
NODE = "The actor died because its node has died. Node Id: 1f. the actor's node was terminated unexpectedly"
RAISED = (
    "Failure # 1 (occurred at 2026-11-23_04-57-19)\n\x1b[36mray::PackTrainer.train()\x1b[39m (pid=8, "
    'ip=192.0.2.2)\n           ^^^^^^^^\n  File "workers.py", line 385, in step\n'
    "    answer = self.answered(self._order)\nImportError: no such library\n"
)
"""As Tune 2.60 writes it down."""
START = (
    "Failure # 1 (occurred at 2026-11-29_19-40-20)\nThe actor died because of an error raised in its "
    "creation task, \x1b[36mray::PackTrainer.__init__()\x1b[39m (pid=19117, ip=192.0.2.2, "
    "repr=<studies.execution.trainable.PackTrainer object at 0x7fe862a5dad0>)\n           ^^^^^^^^^^^^^^^\n"
    + '  File "/lib/python3.11/site-packages/ray/tune/trainable/trainable.py", line 151, in __init__\n'
    * 9
    + '    self.setup(copy.deepcopy(self.config))\n  File "/home/ada/tasks.py", line 12, in setup\n'
    "    raise ValueError(text)\n          ^^^^^^^^^^^^^^^^\n"
    "ModuleNotFoundError: No module named 'x'\n  of mine\n"
)
"""As Tune 2.60 writes down an exception in a worker's start."""
MEMORY = "1 worker(s) were killed due to the node running low on memory. Memory on the node was 3 GB / 3.1 GB"


@pytest.mark.parametrize(
    ("told", "trace", "oom", "kind"),
    [
        (DIED, "", False, "preempted"),
        (DIED, "Fatal Python error: Segmentation fault", False, "crash"),
        (DIED, "", True, "memory"),
        (DIED, None, False, "crash"),
        (NODE, None, False, "preempted"),
        (NODE, "Fatal Python error: Aborted", False, "preempted"),
        (MEMORY, "", False, "memory"),
        (RAISED, "", False, "error"),
    ],
)
def test_a_lost_worker_has_one_kind(told: str, trace: str | None, oom: bool, kind: str) -> None:
    found, cause = of_lost_worker(told, trace, killed_for_memory=oom)
    assert found == kind
    assert cause and "\n" not in cause


def test_an_exception_in_a_workers_start_is_an_error_with_its_last_line() -> None:
    kind, cause = of_lost_start(START)
    assert kind == "error"
    assert cause == (
        "the worker could not start: ModuleNotFoundError: No module named 'x' of mine (tasks.py, line 12)"
    )


def test_a_worker_that_was_ended_before_it_began_was_taken_away() -> None:
    kind, cause = of_lost_start(DIED)
    assert kind == "preempted"
    assert cause == (
        "the worker ended before it began: Worker unexpectedly exits with a connection error code 2. "
        "End of file."
    )


@pytest.mark.parametrize(("told", "most"), [(START, ERRORS), (DIED, LOSSES)])
def test_workers_that_cannot_start_end_the_run_after_a_few(told: str, most: int) -> None:
    starts = WorkerStarts()
    for _ in range(most - 1):
        starts.failed(told)
        starts.refuse_more()
    starts.succeeded()  # it was not in vain
    for _ in range(most - 1):
        starts.failed(told)
        starts.refuse_more()
    starts.failed(told)
    with pytest.raises(WorkersCannotStart) as caught:
        starts.refuse_more()
    assert str(caught.value) == f"{most} workers in a row failed; {of_lost_start(told)[1]}"


def test_a_machine_on_which_no_worker_ever_starts_is_not_waited_for_without_end() -> None:
    starts, now = WorkerStarts(), time.monotonic()
    starts.refuse_more([now, now - NEVER_SECONDS + 60])
    with pytest.raises(WorkersCannotStart, match="no worker has started within 600 s"):
        starts.refuse_more([now, now - NEVER_SECONDS - 1])
    starts.succeeded()
    starts.refuse_more([now - NEVER_SECONDS - 1])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "memory"),
        (RuntimeError("shapes differ"), "error"),
        (ZeroDivisionError(), "error"),
    ],
)
def test_an_exception_is_memory_or_an_error(error: BaseException, kind: str) -> None:
    assert of_exception(error) == kind


def test_what_a_users_network_runs_out_of_is_memory_in_whatever_words_it_is_told() -> None:
    def large(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
        raise MemoryError("too many units")

    task = replace(blobs(), network=large)
    with pytest.raises(ValueError, match="cannot be built: MemoryError: too many units") as caught:
        train_pack([member()], task)
    assert of_exception(caught.value) == "memory"


def test_a_tensor_that_fits_nowhere_is_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert of_exception(caught.value) == "memory"


@pytest.mark.parametrize(("how", "left"), [("SIGSEGV", "Segmentation fault"), ("SIGKILL", ""), ("", "")])
def test_a_fault_leaves_a_trace_and_a_kill_leaves_none(tmp_path: Path, how: str, left: str) -> None:
    file = tmp_path / "trace"
    misdeed = f"os.kill(os.getpid(), signal.{how})" if how else "pass"
    script = (
        "import os, signal, sys\n"
        "from studies.execution.crash_traces import traced\n"
        f"with traced(sys.argv[1]): {misdeed}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert (done.returncode == 0) == (not how)
    trace = trace_of(file)
    assert trace is not None
    assert left in trace if left else not trace


def test_a_trace_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    with traced(str(tmp_path / "nowhere" / "trace")):
        trained = True
    assert trained
    assert trace_of(tmp_path / "nowhere" / "trace") is None


def test_failed_attempts_are_counted_by_kind() -> None:
    row = {"pack": "p", "slot": "", "cause": "", "worker": "", "seconds": 0.0, "at_ms": 0}
    kinds = ("committed", "preempted", "preempted", "memory", "split", "duplicate")
    counts = by_kind([Attempt(kind=kind, **row) for kind in kinds])  # type: ignore[arg-type]
    assert counts == {"preempted": 2, "memory": 1}
    assert sentence(counts) == "failed attempts: 2 workers taken away, 1 out of memory"
    assert sentence({}) == ""
