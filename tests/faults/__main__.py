"""The fault matrix as a command: `python -m tests.faults [--rows 1,4,5] [--seeds 5] [--members N]`.

Every row is run with so many seeds, each a real run of the program under a fault, held against a quiet run.
A line is printed as soon as a row is done. What is done is kept in the scratch folder: the same command
again goes on with the rows that are not.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.faults.program import code, nothing_left
from tests.faults.rows import disk, driver, memory, stores, users, workers
from tests.faults.rows.row import Bench, Found, Row
from tests.faults.shim import compiler

ROWS: tuple[Row, ...] = tuple(
    sorted(
        (*workers.ROWS, *driver.ROWS, *stores.ROWS, *memory.ROWS, *disk.ROWS, *users.ROWS),
        key=lambda row: row.number,
    )
)
HEAD = (
    "| row | fault | seeds | faults | lost | doubled | wrong | report | work redone | s to resume "
    "| human steps | |"
)
RULE = "|---|---|---|---|---|---|---|---|---|---|---|---|"


def main(words: Sequence[str] | None = None) -> int:
    """Runs the rows; 0 if every one of them held."""
    options = _options(words)
    scratch: Path = options.scratch
    scratch.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in ROWS if not options.rows or row.number in options.rows]
    bench = Bench(folder=scratch, members=options.members)
    lines, held = [HEAD, RULE], True
    print(f"seed {options.seed}, {options.seeds} seeds a row, scratch {scratch}\n{HEAD}\n{RULE}", flush=True)
    for row in wanted:
        if row.needs == "compiler" and compiler() is None:
            print(f"row {row.number} is left out: no C compiler on this machine", flush=True)
            continue
        line, good = _row(row, bench, options.seed, options.seeds)
        held &= good
        lines.append(line)
        print(line, flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if held else 1


def _row(row: Row, bench: Bench, seed: int, seeds: int) -> tuple[str, bool]:
    """One row with all of its seeds: its line, and whether it held."""
    found, broken = [], []
    for number in range(seeds):
        kept = bench.folder / f"row-{row.number}-seed-{seed}-{number}-members-{bench.members}-{code()}.json"
        if kept.is_file():
            found.append(Found(**json.loads(kept.read_text(encoding="utf-8"))))
            continue
        began = time.monotonic()
        try:
            one = row.run(bench, f"row-{row.number}-{number}", random.Random(f"{seed} {row.number} {number}"))
        except Exception as error:  # noqa: BLE001 - the other rows are run all the same
            broken.append(f"seed {number}: {' '.join(str(error).split())[:160] or type(error).__name__}")
            traceback.print_exc(file=sys.stderr)
            continue
        kept.write_text(json.dumps(vars(one)), encoding="utf-8")
        found.append(one)
        took = f"{time.monotonic() - began:.0f} s"
        print(f"  row {row.number}, seed {number}: {one} ({took})", file=sys.stderr, flush=True)
    return line_of(row.number, row.name, found, broken), not broken and all(one.held for one in found)


def line_of(number: int, name: str, found: Sequence[Found], broken: Sequence[str] = ()) -> str:
    """A row's line of the table."""
    resumed = [one.resumed for one in found if one.resumed is not None]
    notes = list(dict.fromkeys([*broken, *(one.note for one in found if one.note)]))
    cells = (
        number,
        name,
        len(found) + len(broken),
        sum(one.faults for one in found),
        sum(one.lost for one in found),
        sum(one.doubled for one in found),
        sum(one.wrong for one in found),
        "equal" if all(one.report for one in found) and not broken else "DIFFERS",
        f"{100 * statistics.fmean(one.redone for one in found):.0f} %" if found else "",
        f"{statistics.median(resumed):.1f}" if resumed else "",
        sum(one.steps for one in found),
        "; ".join(notes)[:300],
    )
    return f"| {' | '.join(map(str, cells))} |"


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    numbers = {row.number for row in ROWS}

    def rows(text: str) -> list[int]:
        chosen = [int(word) for word in text.split(",")]
        if unknown := set(chosen) - numbers:
            raise argparse.ArgumentTypeError(f"no rows {sorted(unknown)}; there are {sorted(numbers)}")
        return chosen

    parser.add_argument("--rows", type=rows, default=[], help="numbers, comma between; default: all")
    parser.add_argument("--seeds", type=int, default=5, help="of each row (5)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--members", type=int, default=250, help="of the study, at least (250)")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "groundrules-faults")
    parser.add_argument("--output", type=Path, help="the table as Markdown")
    return parser.parse_args(words)


if __name__ == "__main__":
    with nothing_left():
        raise SystemExit(main())
