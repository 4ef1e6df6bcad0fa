"""The program as the harness runs it: real processes, found again by their descent."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

# A shell ignores Ctrl-C in what it starts in the background, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATIENCE = 240.0
"""Seconds after which a run that does not end has failed."""


@cache
def code() -> str:
    """A hash of the program's own files: what one version has done is not held against another's."""
    whole = hashlib.sha256()
    for package in ("search_spaces", "trainers", "reports", "studies"):
        for file in sorted((ROOT / package).rglob("*")):
            if file.suffix in (".py", ".html", ".css", ".js"):
                whole.update(file.read_bytes())
    return whole.hexdigest()[:8]


STARTED: list[Running] = []
"""Every call of the program by this process."""


@contextmanager
def nothing_left() -> Iterator[None]:
    """Ends what was started within it, also where a polite kill ends the harness."""

    def leave(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for one in STARTED:
            if not one.over:
                one.kill()


@dataclass(kw_only=True)
class Running:
    """One call of the program on its way."""

    process: subprocess.Popen[bytes]
    log: Path

    def __post_init__(self) -> None:
        STARTED.append(self)

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit code; AssertionError with the end of its log if it does not end."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {patience:.0f} s:\n{self.said[-3000:]}") from None

    def kill(self) -> None:
        """kill -9 of the driver and of all that it has started."""
        for pid in [*descendants(self.process.pid), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def workers(self, patience: float = 30.0) -> list[int]:
        """Its workers that have been given a pack, or wait for one; none where it ends before that."""
        end = time.monotonic() + patience
        while True:
            found = [pid for pid in descendants(self.process.pid) if "PackTrainer" in command_of(pid)]
            if found or self.over or time.monotonic() > end:
                return found
            time.sleep(0.02)

    def ray(self, name: str) -> list[int]:
        """Ray's own processes of that name: 'raylet', 'gcs_server'."""
        return [
            pid for pid in descendants(self.process.pid) if Path(command_of(pid).split("\0")[0]).name == name
        ]


@dataclass(kw_only=True)
class Place:
    """One workspace, and what is set around it."""

    folder: Path
    study: Path
    """The study file."""
    tasks_from: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("--workers", "2")
    elsewhere: Path | None = None
    """A workspace that is shared with another place."""

    @property
    def workspace(self) -> Path:
        return self.elsewhere or self.folder / "workspace"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def start(
        self,
        *,
        deeds: Mapping[str, Any] | None = None,
        prefix: tuple[str, ...] = (),
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Running:
        """`groundrules run` of the study.

        Args:
            deeds: what goes wrong inside its processes (`inside/sitecustomize.py`).
            prefix: a command that starts it.
            more: further environment.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        own: list[str] = [] if self.tasks_from is None else ["--tasks-from", str(self.tasks_from)]
        words = ["run", str(self.study), *own, "--workspace", str(self.workspace), *self.options]
        log = self.folder / "log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "studies.cli", *words],
                cwd=self.folder,
                env={
                    **os.environ,
                    **self.inside(deeds),
                    **self.environment,
                    **more,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process=process, log=log)

    def inside(self, deeds: Mapping[str, Any] | None = None) -> dict[str, str]:
        """The environment in which `inside/sitecustomize.py` is loaded by every Python process."""
        faults = {"journal": str(self.journal), "deeds": dict(deeds or {})}
        return {"PYTHONPATH": f"{HERE / 'inside'}{os.pathsep}{ROOT}", "FAULTS": json.dumps(faults)}

    def notes(self) -> list[dict[str, Any]]:
        """The journal so far: what was trained, when, and by whom."""
        with suppress(FileNotFoundError):
            lines = self.journal.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines if line.endswith("}")]
        return []

    def begun(self) -> int:
        """Packs that workers have begun."""
        return sum(row["what"] == "begin" for row in self.notes())

    def until(self, running: Running, packs: int, patience: float = PATIENCE) -> bool:
        """Waits until so many packs were begun; False if the program ended before."""
        end = time.monotonic() + patience
        while self.begun() < packs:
            if running.over:
                return False
            assert time.monotonic() < end, f"only {self.begun()} packs begun:\n{running.said[-3000:]}"
            time.sleep(0.02)
        return not running.over


def descendants(pid: int) -> list[int]:
    """Every process that descends from this one, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        own = children.get(ahead.pop(), [])
        found += own
        ahead += own
    return found


def command_of(pid: int) -> str:
    """Its command line, words apart by NUL; '' where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    return ""
