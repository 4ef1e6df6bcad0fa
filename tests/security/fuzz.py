"""`python -m tests.security.fuzz --inputs 1000000 --seed 1`: every input is accepted or refused, no more.

An input is a function of seed, target and number, so `--only` and `--first` repeat any of them. Watched while
it is read: no code of its own, no process, no socket, no file outside of a scratch folder, bounded memory and
time. Exit 1 where any of that happened, or an error that the program would not tell as the user's mistake.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from studies.ledger.contract import LedgerDamaged
from tests.security.targets import Target, targets
from tests.security.watch import WATCH, scratch_root

MEMORY = 1_500_000_000
"""Bytes of address space that reading may take beyond what the process has."""
SECONDS = 20
"""One input may take; the slowest of a million is printed."""
WARM = 40
"""Inputs of each target read before the watch begins: what is imported late is imported then."""
KEPT = 20
"""Crashes told in full."""


@dataclass(kw_only=True)
class Count:
    """What became of the inputs of one target."""

    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    slowest_at: int = -1
    crashes: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """The other's inputs too."""
        self.accepted += other.accepted
        self.refused += other.refused
        self.seconds += other.seconds
        self.crashes += other.crashes
        if other.slowest > self.slowest:
            self.slowest, self.slowest_at = other.slowest, other.slowest_at


class TooSlow(BaseException):
    """Raised by the alarm: no reader may swallow it."""


def outcome(target: Target, seed: int, i: int, folder: Path) -> tuple[str, str]:
    """('accepted' | 'refused' | 'crashed', why) of one input."""
    given = target.make(Random(f"{seed}:{target.name}:{i}"), folder)
    try:
        with _alarm(), WATCH.over(folder, may_read=target.may_read) as found:
            target.read(given, folder)
        said, why = "accepted", ""
    except (ValueError, LedgerDamaged) as error:  # what `studies.cli.invoke` answers with exit code 2
        said, why = "refused", str(error)
    except (Exception, TooSlow):  # noqa: BLE001 - this is what is looked for
        return "crashed", f"{traceback.format_exc(limit=-6)}\ninput: {given!r:.2000}"
    if found:
        return "crashed", f"it did what reading never does: {found[:5]}\ninput: {given!r:.2000}"
    if len(why) > 25_000:
        return "crashed", f"a message of {len(why)} characters: {why[:300]}"
    return said, why


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(signum: int, frame: object) -> None:
        raise TooSlow(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(
    numbers: dict[str, range], seed: int, *, memory: int | None = MEMORY, say: bool = False
) -> dict[str, Count]:
    """Reads the inputs of these numbers of each target; the process keeps its limit of memory afterwards."""
    with tempfile.TemporaryDirectory(prefix="groundrules-fuzz-", dir=scratch_root()) as name:
        every = {target: Path(name, f"t{i}") for i, target in enumerate(targets()) if target.name in numbers}
        for target, folder in every.items():
            folder.mkdir()  # of its own: what one target leaves another would read
            for i in range(-WARM, 0):
                try:
                    target.read(target.make(Random(f"warm:{target.name}:{i}"), folder), folder)
                except Exception:  # noqa: BLE001, S112 - it is read for what it imports
                    continue
        if memory is not None:
            _limit(memory)
        gc.collect()
        found = {}
        for target, folder in every.items():
            found[target.name] = _count(target, numbers[target.name], seed, folder, say=say)
    return found


def _count(target: Target, numbers: range, seed: int, folder: Path, *, say: bool) -> Count:
    count, started = Count(), time.perf_counter()
    for i in numbers:
        before = time.perf_counter()
        said, why = outcome(target, seed, i, folder)
        took = time.perf_counter() - before
        if took > count.slowest:
            count.slowest, count.slowest_at = took, i
        if said == "crashed":
            count.crashes.append((i, why))
        elif said == "accepted":
            count.accepted += 1
        else:
            count.refused += 1
        if say and i % 20_000 == 0 and i:
            print(f"  {target.name}: {i}", file=sys.stderr, flush=True)
    count.seconds = time.perf_counter() - started
    return count


def _limit(memory: int) -> None:
    now = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))


def shares(inputs: int, only: Sequence[str] = ()) -> dict[str, int]:
    """How many inputs each target gets."""
    chosen = [target for target in targets() if not only or any(word in target.name for word in only)]
    whole = sum(target.share for target in chosen)
    return {target.name: max(1, round(inputs * target.share / whole)) for target in chosen}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    words = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description=__doc__)
    words.add_argument("--inputs", type=int, default=10_000)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--processes", type=int, default=1)
    words.add_argument("--only", action="append", default=[], help="targets whose name holds this word")
    words.add_argument(
        "--first", type=int, default=0, help="number of the first input: with --only, to repeat"
    )
    words.add_argument("--json", action="store_true")
    asked = words.parse_args(arguments)
    started = time.perf_counter()
    parts: list[dict[str, range]] = []
    for process in range(asked.processes):
        part = {}
        for name, many in shares(asked.inputs, asked.only).items():
            step = -(-many // asked.processes)
            part[name] = range(asked.first + process * step, asked.first + min(many, (process + 1) * step))
        parts.append(part)
    if asked.processes == 1:
        answers = [fuzz(parts[0], asked.seed, say=True)]
    else:
        with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
            answers = pool.starmap(fuzz, [(part, asked.seed) for part in parts])
    counts: dict[str, Count] = {}
    for answer in answers:
        for name, count in answer.items():
            counts.setdefault(name, Count()).add(count)
    return _told(counts, time.perf_counter() - started, asked.seed, as_json=asked.json)


def _told(counts: dict[str, Count], seconds: float, seed: int, *, as_json: bool) -> int:
    crashed = sum(len(count.crashes) for count in counts.values())
    many = {name: c.accepted + c.refused + len(c.crashes) for name, c in counts.items()}
    if as_json:
        plain = {name: {**vars(count), "crashes": len(count.crashes)} for name, count in counts.items()}
        print(json.dumps({"seed": seed, "seconds": seconds, "targets": plain}, indent=2))
    else:
        heads = ("inputs", "accepted", "refused", "crashed", "ms each", "slowest s")
        print(f"{'target':24}" + "".join(f"{head:>11}" for head in heads))
        for name, c in counts.items():
            figures = f"{many[name]:11}{c.accepted:11}{c.refused:11}{len(c.crashes):11}"
            print(f"{name:24}{figures}{1e3 * c.seconds / many[name]:11.2f}{c.slowest:11.2f} ({c.slowest_at})")
        total = sum(many.values())
        rate = f"{total} inputs in {seconds:.0f} s, {total / seconds:.0f} a second"
        print(f"seed {seed}: {rate}; crashed: {crashed}")
    for name, count in counts.items():
        for i, why in count.crashes[:KEPT]:
            print(f"\n--- {name}, input {i}\n{why}", file=sys.stderr)
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
