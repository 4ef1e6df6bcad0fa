"""Known results from real trainings: what is known beside what comes out.

python -m tests.replications       about a minute; exit code 1 where a result does not come out
"""

from __future__ import annotations

import sys
import time
from itertools import chain

from tests.replications.nets import nets
from tests.replications.rules import rules


def main() -> int:
    """Prints the table; 1 where something is not reproduced."""
    print(f"{'claim':6} {'what':72} {'known':>24} {'measured':>10} {'tolerance':>18}")
    missed = 0
    for found in chain(rules(), nets()):
        mark = "" if found.reproduced else "  NOT REPRODUCED"
        limits = f"{found.low:.3g} to {found.high:.3g}"
        print(
            f"{found.claim:6} {found.what:72} {found.claimed:>24} {found.measured:>10.3g} {limits:>18}{mark}",
            flush=True,
        )
        missed += not found.reproduced
    print(f"{time.process_time():.0f} s of CPU; {missed} not reproduced")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
