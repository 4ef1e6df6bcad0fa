"""A short version of the fault matrix: one of its rows, one seed, a small study.

All of it, five seeds a row: `python -m tests.faults`; at random for an hour: `python -m tests.faults.soak`.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.__main__ import ROWS, line_of
from tests.faults.rows.row import Bench

SEED = int(os.environ.get("GROUNDRULES_FAULT_SEED", str(random.SystemRandom().randrange(10_000))))
SHORT = (2,)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(folder=tmp_path_factory.mktemp("faults"), members=48)


@pytest.mark.parametrize("number", SHORT)
def test_nothing_is_lost_doubled_or_changed_under(number: int, bench: Bench) -> None:
    row = next(row for row in ROWS if row.number == number)
    found = row.run(bench, f"row-{number}", random.Random(f"{SEED} {number}"))
    print(f"seed {SEED}: {line_of(row.number, row.name, [found])}")
    assert found.faults, "no fault was injected"
    assert found.held, found
