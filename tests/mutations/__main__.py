"""Would the tests have noticed?

    python -m tests.mutations [--only NAME ...] [--part PART] [--jobs N] [--json]

Plants each fault of the YAML files beside this one in a scratch copy of the tree and runs the tests it names
there: killed if they fail, survived if they pass, broken if that says nothing. Ends with 0 if all were
killed, else with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from tests.mutations.faults import Fault, read
from tests.mutations.runner import Outcome, State, run


def main(words: Sequence[str] | None = None) -> int:
    """Runs the faults; 0 if every one was killed, 2 if what was typed names none."""
    options = _options(words)
    try:
        faults = _chosen(read(), options.only, options.part)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    began = time.monotonic()
    outcomes = run(faults, jobs=options.jobs, progress=_line)
    if options.json:
        print(json.dumps([_record(outcome) for outcome in outcomes], indent=1))
    else:
        print(_table(outcomes), f"\n{time.monotonic() - began:.0f} s")
    return 0 if all(outcome.state == "killed" for outcome in outcomes) else 1


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="plants faults")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these faults alone")
    parser.add_argument("--part", metavar="PART", help="those of PART.yaml alone")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies at work side by side")
    parser.add_argument("--json", action="store_true", help="every outcome as JSON")
    return parser.parse_args(words)


def _chosen(faults: Sequence[Fault], names: Sequence[str] | None, part: str | None) -> list[Fault]:
    known = {fault.name for fault in faults}
    if unknown := sorted(set(names or ()) - known):
        raise ValueError(f"there is no fault {', '.join(unknown)}")
    parts = sorted({fault.part for fault in faults})
    if part is not None and part not in parts:
        raise ValueError(f"there is no part {part}; there are {', '.join(parts)}")
    chosen = [fault for fault in faults if part in (None, fault.part)]
    return [fault for fault in chosen if not names or fault.name in names]


def _line(outcome: Outcome, done: int, count: int) -> None:
    print(
        f"[{done}/{count}] {outcome.state:8} {outcome.fault.name} ({outcome.seconds:.1f} s): {outcome.why}",
        file=sys.stderr,
        flush=True,
    )


def _record(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.fault.name,
        "part": outcome.fault.part,
        "state": outcome.state,
        "why": outcome.why,
        "seconds": round(outcome.seconds, 2),
    }


def _table(outcomes: Sequence[Outcome]) -> str:
    """Counts of each part, then everything that was not killed."""
    states: tuple[State, ...] = ("killed", "survived", "broken")
    lines = [f"{'part':16}" + "".join(f"{state:>10}" for state in states)]
    parts = sorted({outcome.fault.part for outcome in outcomes})
    for part in [*parts, "all"]:
        of_part = [outcome.state for outcome in outcomes if part in ("all", outcome.fault.part)]
        lines.append(f"{part:16}" + "".join(f"{of_part.count(state):>10}" for state in states))
    for state in states[1:]:
        rest = [outcome for outcome in outcomes if outcome.state == state]
        lines += [f"{state}: {outcome.fault.part}: {outcome.fault.name}: {outcome.why}" for outcome in rest]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
