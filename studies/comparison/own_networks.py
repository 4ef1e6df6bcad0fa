"""A task's own network at `plan`: does it train, and does it read what the study compares?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from reports.evidence.budget import TaskFacts
from search_spaces.config import Config, Setting
from search_spaces.space import complete
from trainers.loop.structure import structure_key
from trainers.networks import OwnModule, network_for
from trainers.tasks.task import Task
from trainers.tools.rehearsal import rehearse, starts_alike, undeclared, unread

STARTS = ("initializer", "bias", "init_gain")


def misread(configs: Mapping[str, Config], task: Task) -> str:
    """Why levels (or regimes) cannot be compared on a task's own network; '' where they can.

    Args:
        configs: level (or regime) -> its configuration.
        task: with a network of its own.

    Raises:
        ValueError: the network cannot be built or trained; one message.
    """
    for (one, a), (other, b) in itertools.combinations(configs.items(), 2):
        if wrong := undeclared(a, b, task):
            return (
                f"{one} and {other} differ in {' and '.join(wrong)}, and the network of task "
                f"'{task.name}' declares that it reads "
                f"{', '.join(sorted(task.declared or ())) or 'no setting'}"
            )
        if names := unread(a, b, task):
            return (
                f"this network does not read {' and '.join(names)}: for {one} and {other} task '{task.name}' "
                "builds the same modules, starts and outputs; let its factory read the config, or do not "
                f"compare {' and '.join(names)} on it"
            )
    return ""


def rehearsed(configs: Mapping[str, Config], task: Task, known: set[str]) -> None:
    """Tries a short training of every structure that is not `known` yet.

    Raises:
        ValueError: it fails; one message with the task, the place in the user's file and the contract.
    """
    for config in configs.values():
        key = f"{task.name} {structure_key(config, task)}"
        if key not in known:
            known.add(key)
            rehearse(config, task)


def noted(configs: Mapping[str, Config], factor: str, task: Task) -> Iterator[str]:
    """What a user should know of a task's own network in one question."""
    if task.inputs == "tokens":
        yield (
            f"task {task.name}: its network is given whole numbers as they are (token ids, int64, not "
            "scaled); Task(inputs='numbers') has them scaled"
        )
    if any(starts_alike(config, task) for config in configs.values()):
        yield (
            f"task {task.name}: its network starts with the same weights whatever the seed, so trainings "
            "differ by their batches alone"
        )
    asked = factor in STARTS or any(c.levels["initializer"] != "torch_default" for c in configs.values())
    if asked and (names := unreached(configs, task)):
        yield (
            f"task {task.name}: no initializer reaches {listed(names)} of its network, which keep their own "
            "start"
        )


def unreached(configs: Mapping[str, Config], task: Task) -> tuple[str, ...]:
    """Trained tensors that no initializer reaches, at any of these configurations."""
    names: dict[str, None] = {}
    for config in configs.values():
        network = network_for(config, task)
        assert isinstance(network, OwnModule)
        names |= dict.fromkeys(network.unreached(config))
    return tuple(names)


def network_facts(task: Task, settings: Iterable[Setting]) -> dict[str, Any] | None:
    """What a ledger keeps of a task's own network; None where it has none.

    What cannot be built has no tensors here; `rehearsed` says why.
    """
    if task.network is None:
        return None
    names: dict[str, None] = {}
    for i, setting in enumerate(settings):
        with suppress(ValueError):
            names |= dict.fromkeys(unreached({str(i): complete({}, setting=setting)}, task))
    return {
        **task.network_hashes,
        "data": task.data_hash,
        "inputs": task.inputs,
        "unreached": list(names),
    }


def listed(names: tuple[str, ...]) -> str:
    """At most eight names."""
    more = f" and {len(names) - 8} more tensors" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def without_network(now: TaskFacts) -> TaskFacts:
    """A task's facts as they were recorded before networks were."""
    if not now.network or now.network["inputs"] != "numbers":
        return now
    return replace(now, network=None, content_hash=now.network["data"])


def recorded_content_hash(now: TaskFacts, then: Mapping[str, Any]) -> str:
    """The content hash of a task as a study of that time recorded it."""
    return without_network(now).content_hash if "network" not in then else now.content_hash
