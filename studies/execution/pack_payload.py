"""What travels between the driver and its workers, and what a worker does with it: plain data, no Ray."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.config import Config
from studies.execution.crash_traces import traced
from studies.execution.failure_causes import cause_of, whole_traceback
from studies.execution.failure_kinds import of_exception
from trainers.evaluation import Slot
from trainers.member import Member

if TYPE_CHECKING:
    from studies.packing import Pack
    from trainers.diagnostics.names import Switch
    from trainers.tasks.task import Task, TaskBook

ROOT = Path(__file__).parents[2]
"""Names of task files that came with a job are relative to it; full names are what they are."""


class TaskDiffers(ValueError):
    """A worker's copy of a task is not the driver's: training on it would compare unlike things."""


def order_for(
    pack: Pack,
    task: Task,
    *,
    tasks_from: str | None,
    device: str,
    diagnostics: Switch,
    trace: Path,
    home: str,
) -> dict[str, Any]:
    """What a worker is to train, as JSON-ready data.

    Args:
        pack: to train.
        task: as the driver has it.
        tasks_from: the user's task file.
        device: of torch.
        diagnostics: what is recorded inside its members.
        trace: the file in which the worker writes a fault that ends it.
        home: the home folder of the driver's user; '' where that means nothing to the worker.
    """
    return {
        "members": [member_to_dict(member) for member in pack.members],
        "task": pack.task,
        "content_hash": task.content_hash,
        "trace": str(trace),
        "tasks_from": tasks_from,
        "device": device,
        "diagnostics": diagnostics,
        "home": home,
    }


def answer_order(order: dict[str, Any]) -> dict[str, Any]:
    """Trains the pack of one order; an exception becomes an answer with its cause, not a crash."""
    worker = f"{os.uname().nodename}:{os.getpid()}"
    started = time.perf_counter()
    with traced(order["trace"]):
        import torch  # the driver never needs it

        from trainers.loop.pack import train_pack

        torch.set_num_threads(1)
        if order["home"]:
            os.environ["HOME"] = order["home"]
        try:
            task = task_of(order["task"], order["tasks_from"])
            if task.content_hash != order["content_hash"]:
                _refuse_other(task, order["content_hash"])
            members = [member_from_dict(row) for row in order["members"]]
            evaluations = train_pack(members, task, device=order["device"], diagnostics=order["diagnostics"])
        except TaskDiffers as error:
            return {"kind": "task", "cause": str(error), "worker": worker}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's network: this pack's failure only
            return {
                "kind": of_exception(error),
                "cause": cause_of(error),
                "traceback": whole_traceback(error),
                "worker": worker,
                # After a fault on the device every later call there fails too: the process is worth nothing.
                "spoiled": order["device"] != "cpu" or "CUDA error" in str(error),
            }
    return {
        "evaluations": [evaluation.plain() for evaluation in evaluations],
        "seconds": time.perf_counter() - started,
        "worker": worker,
    }


def _refuse_other(task: Task, wanted: str) -> None:
    """Raises TaskDiffers, or what the task's own network raises in this process, if it is that.

    A network that fails here has no structure to compare; the next pack may find it well again.
    """
    if task.network is not None and not task.network_hashes["structure"]:
        from trainers.tasks.network_identity import tried

        again = replace(task)  # nothing of it is remembered
        tried(again)
        if again.content_hash == wanted:
            return
    other = "other data or another network" if task.network else "other data"
    raise TaskDiffers(
        f"task '{task.name}' has {other} in a worker than in the main process: its function must return the "
        "same arrays every time (fix its random seed)"
    )


def member_to_dict(member: Member) -> dict[str, Any]:
    """A member as JSON-ready data."""
    return {
        "slot": member.slot.plain(),
        "config": member.config.plain(),
        "seed_index": member.seed_index,
        "arm": member.arm,
        "salt": member.salt,
        "rungs": member.rungs,
        "root": member.root,
    }


def member_from_dict(row: dict[str, Any]) -> Member:
    """The inverse of `member_to_dict`."""
    return Member(
        **{
            **row,
            "slot": Slot(**row["slot"]),
            "config": Config.from_plain(row["config"]),
            "rungs": tuple((step, metric) for step, metric in row["rungs"]),
        }
    )


@lru_cache(maxsize=4)
def _book(tasks_from: str | None) -> TaskBook:
    from studies.execution.task_objects import SUFFIX, read_tasks
    from trainers.tasks.user_tasks import task_book

    if tasks_from and tasks_from.endswith(SUFFIX):
        return task_book(read_tasks(Path(tasks_from)))
    return task_book(ROOT / tasks_from if tasks_from else None)


@lru_cache(maxsize=64)
def task_of(name: str, tasks_from: str | None) -> Task:
    """A task by its name, built once in a process."""
    return _book(tasks_from)[name]()
