"""How far a study is: as numbers, as a bar on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from studies.execution.scheduler import Scheduler

WINDOW_SECONDS = 60.0
"""The rate is measured over the last minute: the machine may have other things to do."""
LEAST_COMMITS = 3
"""Packs seen before anything is said about the rate."""
LINE_SECONDS = 5.0
"""Between two plain lines."""
JOB_LINE_SECONDS = 30.0
"""The same in the log of a job, which may run for days and is fetched whole."""


@dataclass(frozen=True, kw_only=True)
class StudyProgress:
    """Where a study stands at one moment."""

    finished: int
    """Members in the ledger."""
    planned: int
    diverged: int
    pruned: int = 0
    """Stopped because others did better; only searches prune."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Kind -> attempts that failed (`studies.execution.failure_kinds`); where nobody looks them up, empty."""
    given_up: int
    """Members of packs that nobody could train."""
    rate: float
    """Members per second, lately; 0 before the first."""
    seconds_left: float | None
    """None where nothing can be said yet."""

    @property
    def complete(self) -> bool:
        return self.finished >= self.planned and not self.given_up

    def sentence(self) -> str:
        """As one line of text."""
        parts = [f"{self.finished} of {self.planned} members"]
        if self.rate and not self.complete:
            parts.append(f"{self.rate:.1f} per second")
        if self.seconds_left is not None and not self.complete:
            parts.append(f"{duration(self.seconds_left)} left")
        parts.append(f"{self.diverged} diverged")
        if self.pruned:
            parts.append(f"{self.pruned} pruned")
        if self.given_up:
            parts.append(f"{self.given_up} given up")
        return ", ".join(parts)


class ThroughputMeter:
    """Measures how fast members come in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._commits: deque[tuple[float, int, float]] = deque()
        """(clock, members, work) whenever members came in."""
        self._last: int | None = None

    def at(self, scheduler: Scheduler) -> StudyProgress:
        """Where the study stands now."""
        now, finished = self._clock(), scheduler.finished
        if self._last is None:
            self._last = finished
        elif finished != self._last:
            self._commits.append((now, finished, scheduler.work_done))
            self._last = finished
        while len(self._commits) > LEAST_COMMITS and now - self._commits[1][0] > WINDOW_SECONDS:
            self._commits.popleft()
        rate, left = 0.0, None
        if len(self._commits) >= LEAST_COMMITS:  # the first one only starts the clock: starting takes time
            since, before, worked = self._commits[0]
            if now > since and scheduler.work_done > worked:
                rate = (finished - before) / (now - since)
                # By work and not by members: deep ones, which go first, take ten times as long.
                pace = (scheduler.work_done - worked) / (now - since)
                left = max(0.0, scheduler.work_planned - scheduler.work_done) / pace
        planned = scheduler.planned
        return StudyProgress(
            finished=finished,
            planned=planned,
            diverged=scheduler.diverged,
            pruned=scheduler.pruned,
            given_up=sum(len(pack.members) for pack in scheduler.failed_packs),
            rate=rate,
            seconds_left=left,
        )


class Display:
    """Shows progress on stderr while it is open: a bar on a terminal, else a line every few seconds."""

    def __init__(self, stream: IO[str] | None = None, *, seconds: float = LINE_SECONDS) -> None:
        """Nothing is shown yet.

        Args:
            stream: standard error by default.
            seconds: between two plain lines.
        """
        self._stream = stream or sys.stderr
        self._seconds = seconds
        self._pace = ThroughputMeter()
        self._bar: Progress | None = None
        self._said = -seconds
        self._last = ""
        self._scheduler: Scheduler | None = None

    def __enter__(self) -> Display:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.start()
            self._bar.add_task("starting", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._scheduler is not None:  # what came in since the last line
            self._say(self._pace.at(self._scheduler).sentence())

    def __call__(self, scheduler: Scheduler) -> None:
        """Shows where the scheduler stands; may be called as often as one likes."""
        self._scheduler = scheduler
        now = time.monotonic()
        if self._bar is None and now - self._said < self._seconds:
            return
        standing = self._pace.at(scheduler)
        text = standing.sentence()
        if self._bar is not None:
            (task,) = self._bar.task_ids
            self._bar.update(
                task, description=text, completed=standing.finished, total=max(standing.planned, 1)
            )
        elif self._say(text):
            self._said = now

    def _say(self, text: str) -> bool:
        """A plain line, unless it is the last one again."""
        if text == self._last:
            return False
        print(text, file=self._stream, flush=True)
        self._last = text
        return True


def planned_time(seconds: float) -> str:
    """How long something would take, before any of it was measured: no more precise than a minute."""
    return duration(seconds) if seconds >= 60 else "under a minute"


def duration(seconds: float) -> str:
    """'40 s', '3 min', '2 h 10 min': as precise as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
