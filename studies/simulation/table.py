"""Measured shares with their Clopper-Pearson bounds against what must hold."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from search_spaces.factor import unknown
from studies.simulation.scenarios import ROWS, Check, Scenario

STUDIES = 1000
PART = 250
"""Studies simulated at a time: progress is shown, and memory stays below about 300 MB."""

TAIL = 0.025
"""Bounds are one-sided at 97.5 %."""


Answer = Literal["holds", "FAILS", "open", "shown"]
"""'FAILS': the bound on the other side refutes it; 'open': neither is shown yet."""


@dataclass(frozen=True, kw_only=True)
class MeasuredScenario:
    """One line of the table."""

    row: str
    plant: str
    check: Check
    hits: int
    out_of: int

    @property
    def share(self) -> float:
        return self.hits / self.out_of if self.out_of else 0.0

    @property
    def low(self) -> float:
        """Lower 97.5 % Clopper-Pearson bound of the share."""
        if not self.hits:
            return 0.0
        return float(scipy.special.betaincinv(self.hits, self.out_of - self.hits + 1, TAIL))

    @property
    def high(self) -> float:
        """Upper 97.5 % Clopper-Pearson bound of the share."""
        missed = self.out_of - self.hits
        return float(scipy.special.betaincinv(self.hits + 1, missed, 1 - TAIL)) if missed else 1.0

    @property
    def answer(self) -> Answer:
        """Whether what must hold does: its bound decides, so that too few studies leave it open."""
        accept, bound = self.check.accept, self.check.bound
        if accept == "shown":
            return "shown"
        if accept == "always":
            return "holds" if self.hits == self.out_of > 0 else "FAILS"
        if self.high <= bound if accept == "at most" else self.low >= bound:
            return "holds"
        return "FAILS" if (self.low > bound if accept == "at most" else self.high < bound) else "open"

    @property
    def holds(self) -> bool:
        """Nothing was demanded, or it was shown to hold."""
        return self.answer in ("holds", "shown")

    @property
    def demand(self) -> str:
        """What must hold, in words."""
        if self.check.accept in ("shown", "always"):
            return "" if self.check.accept == "shown" else "always"
        return f"{self.check.accept} {self.check.bound:.0%}"


def simulate(
    only: Sequence[str] = (),
    *,
    studies: int = STUDIES,
    workers: int = 1,
    watch: Callable[[int, int, str], None] | None = None,
) -> tuple[MeasuredScenario, ...]:
    """Simulates rows of the validation table, in the table's order.

    Args:
        only: names of rows; none: all.
        studies: simulated studies per row (whole studies: at most 20).
        workers: processes.
        watch: called with (parts done, parts, row) as work goes on.

    Raises:
        ValueError: an unknown row, or fewer than one study or worker.
    """
    names = [row.name for row in ROWS]
    for name in only:
        if name not in names:
            raise unknown("row of the validation table", name, names)
    if studies < 1 or workers < 1:
        raise ValueError(f"studies {studies} and workers {workers} must be at least 1")
    rows = [row for row in ROWS if not only or row.name in only]
    parts = [part for row in rows for part in _parts(row, studies)]
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for done, (name, found) in enumerate(_results(parts, workers), start=1):
        for check, (hits, out_of) in found.items():
            before = counts.get((name, check), (0, 0))
            counts[name, check] = (before[0] + hits, before[1] + out_of)
        if watch is not None:
            watch(done, len(parts), name)
    return tuple(
        MeasuredScenario(
            row=row.name,
            plant=row.plant,
            check=check,
            hits=counts[row.name, check.name][0],
            out_of=counts[row.name, check.name][1],
        )
        for row in rows
        for check in row.checks
    )


def text(table: Sequence[MeasuredScenario]) -> str:
    """The table as aligned lines."""
    lines, last = [], ""
    for one in table:
        if one.row != last:
            lines += ["", f"{one.row}  {one.plant}"]
            last = one.row
        verdict = {"shown": "", "open": "open: more studies needed"}.get(one.answer, one.answer)
        measured = f"{one.share:7.1%}  [{one.low:6.1%}, {one.high:6.1%}]"
        lines.append(
            f"    {one.check.name:44s} {measured}  of {one.out_of:<7d} {one.demand:13s} {verdict}".rstrip()
        )
    return "\n".join(lines[1:])


def plain(table: Sequence[MeasuredScenario]) -> list[dict[str, Any]]:
    """The table as JSON-ready data."""
    return [
        {
            "row": one.row,
            "plant": one.plant,
            "measure": one.check.name,
            "hits": one.hits,
            "out_of": one.out_of,
            "share": one.share,
            "bounds": [one.low, one.high],
            "must": one.demand,
            "answer": one.answer,
        }
        for one in table
    ]


_Part = tuple[str, int, int]
"""Row, number of the part, studies in it."""


def _parts(row: Scenario, studies: int) -> list[_Part]:
    asked = min(studies * row.times, row.most or studies * row.times)
    return [(row.name, i, min(PART, asked - at)) for i, at in enumerate(range(0, asked, PART))]


def _part(part: _Part) -> tuple[str, dict[str, tuple[int, int]]]:
    name, number, studies = part
    row = next(row for row in ROWS if row.name == name)
    # A row's numbers depend on its name and part only, so that --only prints what the whole table prints.
    generator = np.random.Generator(np.random.Philox(key=[zlib.crc32(name.encode()), number]))
    return name, dict(row.simulate(generator, studies))


def _results(parts: Sequence[_Part], workers: int) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    if workers == 1 or len(parts) < 2:
        yield from map(_part, parts)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(_part, parts)
