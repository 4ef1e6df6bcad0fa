"""One row of the table: a fault, how it is made, and what came of it."""

from __future__ import annotations

import random
import shutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.outcome import Compared, Outcome, compared, outcome_of
from tests.faults.program import Place, Running, code
from tests.faults.studies_under_test import TASKS_FROM, guideline, own, search, written


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one seed of one row has shown."""

    faults: int
    """That were injected."""
    lost: int
    doubled: int
    wrong: int
    report: bool
    """Equal to the quiet run's, or not to be compared."""
    redone: float
    """Members trained more often than once, as a share of all."""
    resumed: float | None = None
    """Seconds from a fault until what it hit is at work again (median); None where nothing stood still."""
    steps: int = 0
    """What a person had to decide. The same command again is no decision."""
    note: str = ""

    @property
    def held(self) -> bool:
        """There was a fault, nothing lost, doubled or wrong, the same report, and nobody was needed."""
        bad = self.lost or self.doubled or self.wrong or self.steps
        return self.faults > 0 and self.report and not bad


@dataclass(kw_only=True)
class Bench:
    """Where rows are run: a scratch folder, the size of the studies, and their quiet runs."""

    folder: Path
    members: int = 250
    _quiet: dict[str, tuple[Outcome, int]] = field(default_factory=dict)

    def place(self, name: str, kind: str = "guideline", **environment: str) -> Place:
        """An empty workspace for one of the studies: 'guideline', 'own' or 'search'."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self._place(name, kind, **environment)

    def _place(self, name: str, kind: str, **environment: str) -> Place:
        folder = self.folder / name
        make: Mapping[str, Callable[..., dict[str, Any]]] = {
            "guideline": guideline, "own": own, "search": search,
        }  # fmt: skip
        size = {"guideline": self.members, "own": 150, "search": 96}[kind]
        return Place(
            folder=folder,
            study=written(make[kind](size), folder),
            tasks_from=TASKS_FROM if kind == "own" else None,
            environment=environment,
        )

    def quiet(self, kind: str = "guideline") -> Outcome:
        """What the study comes to when nothing happens; run once, and kept in the scratch folder."""
        if kind not in self._quiet:
            name = f"quiet-{kind}-{self.members}-{code()}"
            kept = self.folder / name / "complete"
            place = self._place(name, kind) if kept.is_file() else self.place(name, kind)
            if not kept.is_file():
                self.finish(place)
                kept.touch()
            self._quiet[kind] = outcome_of(place.workspace, place.study.stem), place.begun()
        return self._quiet[kind][0]

    def packs(self, kind: str = "guideline") -> int:
        """Packs of the quiet run."""
        self.quiet(kind)
        return self._quiet[kind][1]

    def finish(self, place: Place, tries: int = 3) -> Running:
        """The same command to its end; once more where Ray did not start on a busy machine."""
        while True:
            running = place.start()
            ended, tries = running.wait(), tries - 1
            if ended == 0:
                return running
            busy = "Ray did not start within" in running.said[-1000:]
            assert busy and tries, f"it ended with {ended}:\n{running.said[-3000:]}"

    def found(
        self,
        place: Place,
        kind: str = "guideline",
        *,
        faults: int,
        near: bool = False,
        expected: frozenset[str] = frozenset(),
        resumed: list[float] | None = None,
        note: str = "",
        wrong: int = 0,
        database: Path | None = None,
    ) -> Found:
        """Holds a complete study against its quiet run."""
        quiet, now = self.quiet(kind), outcome_of(place.workspace, place.study.stem, database=database)
        how: Compared = compared(now, quiet, near=near, expected=expected)
        begun = sum(len(row["slots"]) for row in place.notes() if row["what"] == "begin")
        return Found(
            faults=faults,
            lost=how.lost,
            doubled=how.doubled,
            wrong=how.wrong + wrong,
            report=how.same_report,
            redone=begun / len(quiet.evaluations) - 1,
            resumed=statistics.median(resumed) if resumed else None,
            note=note,
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault of the matrix."""

    number: int
    name: str
    run: Callable[[Bench, str, random.Random], Found]
    """Bench, a name for the scratch folder, and the draw of one seed -> what it has shown."""
    needs: str = ""
    """'postgresql', 'compiler': what must be on the machine."""


def at_work_again(place: Place, pid: int, fault: float) -> float | None:
    """Seconds from a fault that hit a worker until its pack is at work again; None if it had none."""
    rows = place.notes()
    mine = [
        row for row in rows if row["pid"] == pid and row["what"] in ("begin", "end") and row["at"] <= fault
    ]
    if not mine or mine[-1]["what"] == "end":
        return None
    hit = set(mine[-1]["slots"])
    again = [
        row["at"] for row in rows if row["at"] > fault and row["what"] == "begin" and hit & set(row["slots"])
    ]
    return min(again) - fault if again else None


def at_work_after(place: Place, fault: float) -> float | None:
    """Seconds from a moment until a worker begins a pack."""
    again = [row["at"] for row in place.notes() if row["at"] > fault and row["what"] == "begin"]
    return min(again) - fault if again else None
