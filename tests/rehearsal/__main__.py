"""The service on one machine, as a team has it on many: one command, and a table of what held.

python -m tests.rehearsal                      the quickstart study
python -m tests.rehearsal --study FILE.yaml    another one
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from studies.spec.load import shipped
from tests.rehearsal.mistakes import mistakes
from tests.rehearsal.scenes import (
    Outcome,
    as_alone,
    at_once,
    nothing_foreign,
    refusals,
    stopped_and_resumed,
    study_file,
)
from tests.rehearsal.stage import stage


def rehearsed(source: Path, stop_at: int) -> Iterator[Outcome]:
    """Every scene in turn."""
    began = time.monotonic()
    with stage() as at:
        yield Outcome(
            what="PostgreSQL, MLflow server, Ray head and two more raylets", right=True,
            found=f"started in {time.monotonic() - began:.0f} s",
        )  # fmt: skip
        yield from refusals(at)
        ada, ben, alone = at.user("ada"), at.user("ben"), at.alone("alone")
        whole = study_file(at.folder, "whole", source)
        yield from at_once((ada,), (whole,))
        yield from stopped_and_resumed(at, ada, whole, stop_at=stop_at)
        yield from as_alone(ada, alone, whole)
        pair = study_file(at.folder, "of_ada"), study_file(at.folder, "of_ben")
        yield from at_once((ada, ben), pair)
        yield from nothing_foreign(at, (ada, ben), ("of_ada", "of_ben"))
        for user, file in zip((ada, ben), pair, strict=True):
            yield from as_alone(user, at.alone(f"alone_{user.name}"), file)
        yield from mistakes(at, ada, pair[0])


def main() -> int:
    """Prints the table as it comes; 1 where something did not hold."""
    reader = argparse.ArgumentParser(prog="python -m tests.rehearsal")
    reader.add_argument("--study", type=Path, default=shipped()["quickstart"], help="a study file")
    reader.add_argument("--stop-at", type=int, default=100, help="members at which it is stopped")
    said = reader.parse_args()
    began, wrong, count = time.monotonic(), 0, 0
    for outcome in rehearsed(said.study, said.stop_at):
        mark = "ok   " if outcome.right else "WRONG"
        print(
            f"{time.monotonic() - began:6.0f} s  {mark}  {outcome.what:58}  {outcome.found[:200]}", flush=True
        )
        wrong, count = wrong + (not outcome.right), count + 1
    print(f"{count - wrong} of {count} held")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
