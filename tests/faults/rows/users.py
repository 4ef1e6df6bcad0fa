"""Two studies at the same time in one workspace: nothing of the one in the other."""

from __future__ import annotations

import random

from tests.faults.outcome import outcome_of
from tests.faults.program import Place
from tests.faults.rows.row import Bench, Found, Row


def two_studies(bench: Bench, name: str, draw: random.Random) -> Found:
    """They share ledger and MLflow; one of them is killed and resumed meanwhile."""
    first = bench.place(name)
    other = bench.place(f"{name}-own", "own")
    second = Place(
        folder=other.folder, study=other.study, tasks_from=other.tasks_from, elsewhere=first.workspace
    )
    bench.quiet(), bench.quiet("own")
    one, two = first.start(), second.start()
    second.until(two, draw.randrange(1, 6))
    two.kill()
    again = second.start()
    codes = one.wait(), again.wait()
    assert codes == (0, 0), one.said[-1500:] + again.said[-1500:]
    a, b = bench.found(first, faults=1), bench.found(second, "own", faults=0)
    foreign = len(
        outcome_of(first.workspace, "faulty").evaluations.keys()
        & outcome_of(first.workspace, "own").evaluations.keys()
    )
    return Found(
        faults=1,
        lost=a.lost + b.lost,
        doubled=a.doubled + b.doubled,
        wrong=a.wrong + b.wrong + foreign,
        report=a.report and b.report,
        redone=max(a.redone, b.redone),
        note=f"{foreign} foreign rows",
    )


ROWS = (Row(number=34, name="two studies at once", run=two_studies),)
