"""Loaded by every Python process of a run under the fault harness: its folder comes first on the path.

The program itself knows nothing of it. FAULTS (JSON) says what to do: `journal`, a file to which every
pack's beginning and end is appended; `deeds`, what goes wrong.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PLAN: dict[str, Any] = json.loads(os.environ.get("FAULTS", "{}"))
Wrapper = Callable[[Any], Any]


class _After:
    """An import hook: runs a function on a module once it has been executed."""

    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self._changes:
            return None
        change = self._changes.pop(name)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def note(**facts: Any) -> None:
    """One line of the journal, in one write."""
    line = json.dumps({"at": time.time(), "pid": os.getpid(), **facts}) + "\n"
    handle = os.open(PLAN["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, line.encode())
    os.close(handle)


def once(name: str, times: int = 1) -> bool:
    """Whether a deed is still due: it is done so often in all processes of a run together."""
    for number in range(times):
        try:
            handle = os.open(f"{PLAN['journal']}.{name}.{number}", os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            continue
        os.close(handle)
        return True
    return False


def _journaled(module: ModuleType) -> None:
    """`trainers.loop.pack`: what is trained, when and by whom; and what goes wrong around it."""
    train = module.train_pack
    deeds = PLAN.get("deeds", {})

    def train_pack(members: Sequence[Any], task: Any, **how: Any) -> Any:
        slots = [member.slot.id for member in members]
        note(what="begin", slots=slots)
        for deed in ("too_large", "ballast"):
            if deed in deeds:
                _DEEDS[deed](deeds[deed], slots)
        found = train(members, task, **how)
        note(what="end", slots=slots)
        if "no_ack" in deeds and once("no_ack", deeds["no_ack"]):
            note(what="no_ack", slots=slots)
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    module.train_pack = train_pack  # type: ignore[attr-defined]


def _too_large(members: int, slots: Sequence[str]) -> None:
    """As if a device had room for so many members only."""
    import torch

    if len(slots) > members:
        raise torch.OutOfMemoryError(f"CUDA out of memory: {len(slots)} members (made up by the harness)")


def _ballast(plan: dict[str, float], slots: Sequence[str]) -> None:
    """A pack that takes so many bytes, for so long."""
    if len(slots) > plan["members"] and once("ballast", int(plan["times"])):
        note(what="ballast", slots=slots)
        block = bytearray(int(plan["bytes"]))
        block[::4096] = b"\1" * len(block[::4096])
        time.sleep(plan["seconds"])


_DEEDS: dict[str, Callable[[Any, Sequence[str]], None]] = {"too_large": _too_large, "ballast": _ballast}


def _crashing(module: ModuleType) -> None:
    """`sqlite3`: the process ends at the n-th statement that is sent to the ledger."""
    ending, count = PLAN["deeds"]["statement"], 0

    class Connection(module.Connection):  # type: ignore[name-defined, misc]
        def execute(self, *words: Any) -> Any:
            nonlocal count
            count += 1
            if count == ending["at"] and ending["before"]:
                os._exit(137)
            found = super().execute(*words)
            if count == ending["at"]:
                os._exit(137)
            return found

    connect = module.connect

    def spied(address: Any, *words: Any, **how: Any) -> Any:
        own = {"factory": Connection} if "ledger.sqlite" in str(address) else {}
        return connect(address, *words, **{**how, **own})

    module.connect = spied  # type: ignore[attr-defined]


def _skewed(module: Any) -> None:
    """`trainers.versions`: another version of torch than there is."""
    found = module.versions()
    module.versions = lambda: {**found, "torch": PLAN["deeds"]["torch"]}


def _main() -> None:
    hooks: dict[str, Callable[[ModuleType], None]] = {"trainers.loop.pack": _journaled}
    deeds = PLAN.get("deeds", {})
    worker = any(word.endswith("default_worker.py") for word in sys.orig_argv)
    if "statement" in deeds and not worker:
        hooks["sqlite3"] = _crashing
    if "torch" in deeds:
        hooks["trainers.versions"] = _skewed
    sys.meta_path.insert(0, _After(hooks))


if PLAN:
    _main()
