"""Runs the named tests of each fault in scratch copies of the tree, and judges what became of it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from tests.mutations.faults import Edit, Fault, missing_tests, planted
from tests.mutations.server import HEAVY
from tests.mutations.tree import Tree

ROOT = Path(__file__).parents[2]

LONGEST = 600.0
"""Seconds that the tests of one file may take without a fault."""

SLOWER = 5.0
"""With a fault, a test may take so many times as long as without (and a minute more) before it is ended."""


State = Literal["killed", "survived", "broken"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one fault."""

    fault: Fault
    state: State
    """broken: it, or its test, says nothing: not there, not unique, not compiling, failing without it too."""

    why: str
    """The test that failed and with what, the test that did not, or what is broken."""

    seconds: float


class Bench:
    """A tree and the server that runs tests in it."""

    def __init__(self, root: Path, folder: Path, heavy: Sequence[str]) -> None:
        self.tree = Tree(root, folder)
        self._server = subprocess.Popen(
            [self.tree.python, "-m", "tests.mutations.server", json.dumps(list(heavy))],
            cwd=self.tree.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: Sequence[str], *, first: bool, limit: float, edit: Edit | None) -> dict[str, Any]:
        """What became of the tests with the edit; `first` ends at the first one that fails."""
        assert self._server.stdin is not None and self._server.stdout is not None
        with self.tree.with_fault(edit):
            request = {"tests": list(tests), "first": first, "limit": limit}
            print(json.dumps(request), file=self._server.stdin, flush=True)
            answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)


@contextmanager
def benches(root: Path, count: int, heavy: Sequence[str]) -> Iterator[SimpleQueue[Bench]]:
    """So many benches, to be taken and put back; their trees are removed at the end."""
    free: SimpleQueue[Bench] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(count):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gm-"))
            bench = Bench(root, Path(folder), heavy)
            stack.callback(bench.close)
            free.put(bench)
        yield free


def run(
    faults: Sequence[Fault],
    *,
    jobs: int = 1,
    root: Path = ROOT,
    heavy: Sequence[str] = HEAVY,
    progress: Callable[[Outcome, int, int], None] = lambda outcome, done, count: None,
) -> list[Outcome]:
    """Plants each fault in a copy of the tree at `root` and runs its tests there.

    Args:
        faults: what is planted, one at a time.
        jobs: trees at work side by side.
        root: the checkout; it is only read.
        heavy: what is loaded before the tests run.
        progress: called with each outcome, how many are done, and how many there are.

    Returns:
        Outcomes in the order of the faults.
    """
    outcomes: dict[str, Outcome] = {}

    def settle(outcome: Outcome) -> None:
        outcomes[outcome.fault.name] = outcome
        progress(outcome, len(outcomes), len(faults))

    edits: dict[str, Edit] = {}
    for fault in faults:
        try:
            edits[fault.name] = planted(fault, root)
            if missing := missing_tests(fault, root):
                raise ValueError(f"there is no test {', '.join(missing)}")
        except ValueError as error:
            settle(Outcome(fault=fault, state="broken", why=str(error), seconds=0.0))
    left = [fault for fault in faults if fault.name not in outcomes]
    if left:
        with benches(root, jobs, heavy) as free, ThreadPoolExecutor(jobs) as threads:
            files = _by_file([test for fault in left for test in fault.dies])
            quiet: dict[str, tuple[str, float]] = {}
            for part in threads.map(lambda tests: _baseline(free, tests), files.values()):
                quiet |= part
            judged = [threads.submit(_judged, free, fault, edits[fault.name], quiet) for fault in left]
            for one in as_completed(judged):
                settle(one.result())
    return [outcomes[fault.name] for fault in faults]


def _by_file(tests: Sequence[str]) -> dict[str, list[str]]:
    """File -> its tests among these, each once."""
    files: dict[str, list[str]] = {}
    for test in tests:
        names = files.setdefault(test.split("::")[0], [])
        if test not in names:
            names.append(test)
    return files


def _baseline(free: SimpleQueue[Bench], tests: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Test -> why it says nothing about faults ('' if it passes without one), and seconds of its file."""
    bench = free.get()
    try:
        answer = bench.run(tests, first=False, limit=LONGEST, edit=None)
    finally:
        free.put(bench)
    return {test: (_useless(answer, test), float(answer["seconds"])) for test in tests}


def _useless(answer: dict[str, Any], test: str) -> str:
    if answer["state"] != "ended":
        return f"without the fault {test} did not end" if answer["state"] == "endless" else f"{test} crashes"
    if answer["broken"]:
        return f"without the fault too: {_one(answer['broken'])}"
    for name in answer["failed"]:
        if _below(name, test):
            return f"without the fault too {name} fails: {answer['failed'][name]}"
    if not any(_below(name, test) for name in answer["passed"]):
        return f"without the fault {test} is skipped, or there is none of that name"
    return ""


def _below(name: str, test: str) -> bool:
    """Whether a test that ran is one of those that are meant."""
    return name == test or name.startswith((f"{test}[", f"{test}::"))


def _one(messages: dict[str, str]) -> str:
    return ": ".join(next(iter(messages.items())))


def _judged(
    free: SimpleQueue[Bench], fault: Fault, edit: Edit, quiet: dict[str, tuple[str, float]]
) -> Outcome:
    """One fault: killed if something fails in every test that it names."""
    seconds, why = 0.0, ""
    for test in fault.dies:
        useless, took = quiet[test]
        if useless:
            return Outcome(fault=fault, state="broken", why=useless, seconds=seconds)
        bench = free.get()
        try:
            answer = bench.run([test], first=True, limit=60 + SLOWER * took, edit=edit)
        finally:
            free.put(bench)
        seconds += float(answer["seconds"])
        state, why = _verdict(answer, test)
        if state != "killed":
            return Outcome(fault=fault, state=state, why=why, seconds=seconds)
    return Outcome(fault=fault, state="killed", why=why, seconds=seconds)


def _verdict(answer: dict[str, Any], test: str) -> tuple[State, str]:
    if answer["state"] == "endless":
        return "killed", f"{test} no longer ends"
    if answer["state"] == "died":
        return "killed", f"{test} ends the process"
    if answer["broken"]:  # a module that cannot be loaded is noticed by anything
        return "broken", f"with it nothing can be loaded: {_one(answer['broken'])}"
    if answer["failed"]:
        return "killed", _one(answer["failed"])
    return "survived", f"{test} passes"
