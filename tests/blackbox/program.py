"""The installed program as a user starts it: another process, another folder, nothing pre-set."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from studies.cli import invoke
from tests.surroundings import SILENCE

HERE = Path(__file__).parent
TINY = HERE / "tiny.yaml"
PROGRAM = Path(sys.executable).with_name("groundrules")

MARK = "GROUNDRULES_TEST_MARK"
"""Set in the environment of a started program and so of all its children, to find what it leaves behind."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What one call said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def environment(**more: str) -> dict[str, str]:
    """As in a plain shell: without what the test runner sets, since libraries fall silent under a test."""
    taken = {*SILENCE, "CI", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "GROUNDRULES_WORKSPACE"}
    return {name: value for name, value in os.environ.items() if name not in taken} | more


def groundrules(
    *arguments: str | Path,
    workspace: Path | None = None,
    cwd: Path,
    expect: int | None = 0,
    prefix: Sequence[str] = (),
    timeout: float = 240,
) -> Ran:
    """Runs the program to its end; AssertionError with all it said unless its exit code is `expect`.

    Args:
        arguments: as typed.
        workspace: adds `--workspace`.
        cwd: the folder it is started in.
        expect: None allows any exit code.
        prefix: a command that starts it (unshare, ...).
        timeout: seconds after which the whole process group is killed and the test fails.
    """
    command = command_line(*arguments, workspace=workspace)
    process = subprocess.Popen(
        [*prefix, *command],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_group(process)
        out, err = process.communicate()
        raise AssertionError(f"{' '.join(command)}: no end after {timeout} s\n{out}\n{err}") from None
    ran = Ran(code=process.returncode, out=out, err=err)
    if expect is not None:
        assert ran.code == expect, f"{' '.join(command)} ended with {ran.code}, not {expect}:\n{ran.said}"
    return ran


def invoked(*arguments: str | Path, workspace: Path) -> Ran:
    """The same, in this process: for calls that end before any work, where starting costs the most."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = invoke([*map(str, arguments), "--workspace", str(workspace)])
    return Ran(code=code, out=out.getvalue(), err=err.getvalue())


def command_line(*arguments: str | Path, workspace: Path | None = None) -> list[str]:
    """The words of one call."""
    assert PROGRAM.is_file(), f"{PROGRAM} is missing: pip install -e ."
    place = [] if workspace is None else ["--workspace", str(workspace)]
    return [str(PROGRAM), *map(str, arguments), *place]


def start(
    *arguments: str | Path, workspace: Path, cwd: Path, log: Path
) -> tuple[subprocess.Popen[bytes], str]:
    """Starts the program in a process group of its own; returns it and the mark its children carry."""
    mark = uuid.uuid4().hex
    with log.open("ab") as out:
        process = subprocess.Popen(
            command_line(*arguments, workspace=workspace),
            cwd=cwd,
            env=environment(**{MARK: mark}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, mark


def kill_group(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """kill -9 of the process group that the program leads; nothing where it has already ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def survivors(mark: str, patience: float) -> list[int]:
    """Pids that still carry the mark after at most `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        alive = [
            int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _carries(path, mark)
        ]
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(0.5)


def _carries(path: Path, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in path.read_bytes()
    except OSError:  # it ended while we looked
        return False


def contents(folder: Path) -> Mapping[str, bytes]:
    """Every file below `folder`: its relative path and bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
