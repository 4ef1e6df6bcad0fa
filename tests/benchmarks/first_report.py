"""B8: how long a newcomer waits for the first report, by phase.

    python -m tests.benchmarks.first_report [--study quickstart] [--workers 2] [--repeats 1]

`groundrules run` of a shipped study in an empty workspace, in a process of its own. Its phases are told by
what it leaves behind: the command's own start and end, and the times in the ledger. `start` reaches from the
call to the first pack in a worker (imports, Ray, the plan), each phase from its first pack to its last
(phases overlap: a chain goes on as soon as it can), `end` from the last pack to the end of the command (what
MLflow still lacks, the report, Ray's end). `busy` is the workers' time in training over all time in between.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from studies.ledger.ledger import Ledger
from trainers.evaluation import PHASES


def measure(study: str, workers: int) -> dict[str, float]:
    """Seconds by phase of one run."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        command = [sys.executable, "-m", "studies.cli", "run", study, "--json", "--workers", str(workers)]
        began, clock = time.time(), time.perf_counter()
        ran = subprocess.run(
            [*command, "--workspace", str(workspace)],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        whole = time.perf_counter() - clock
        told = json.loads(ran.stdout)
        assert told["complete"] and Path(told["report"]).is_file(), told
        with Ledger.open(workspace) as ledger:
            rows = ledger.committed_after(study, 0, 10**9)
    # (begin, end, phase) of every pack; a row tells its pack's seconds divided by its members.
    members = Counter(row.pack_id for row in rows)
    packs = {
        row.pack_id: (
            row.committed_ms / 1000 - row.seconds * members[row.pack_id],
            row.committed_ms / 1000,
            row.evaluation.slot.phase,
        )
        for row in rows
    }.values()
    first, last = min(pack[0] for pack in packs), max(pack[1] for pack in packs)
    found = {"whole": whole, "start": first - began}
    for phase in PHASES:
        own = [pack for pack in packs if pack[2] == phase]
        if own:
            found[phase] = max(pack[1] for pack in own) - min(pack[0] for pack in own)
    busy = sum(pack[1] - pack[0] for pack in packs) / (last - first) / workers
    return {**found, "training": last - first, "end": began + whole - last, "busy %": 100 * busy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--study", default="quickstart")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    rows = []
    for _ in range(asked.repeats):
        rows.append(measure(asked.study, asked.workers))
        if len(rows) == 1:
            print(
                f"{asked.study}, {asked.workers} workers, seconds\n"
                + "".join(f"{name:>10}" for name in rows[0])
            )
        print("".join(f"{value:10.1f}" for value in rows[-1].values()), flush=True)
    if asked.repeats > 1:
        middle = [statistics.median(row[name] for row in rows) for name in rows[0]]
        print("".join(f"{value:10.1f}" for value in middle) + f"  median of {len(rows)}")


if __name__ == "__main__":
    main()
