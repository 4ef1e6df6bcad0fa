"""Whether two protocols mean the same study, whichever version of the program and catalogue wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def comparable(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol without what hangs on levels of the catalogue that the study does not have.

    Costs become places among the levels asked about: protocols of earlier versions hold the catalogue's
    ranks, which move when it gets a level. Of what a task's own network does not take, levels that stand
    nowhere in the study are left out.

    Args:
        protocol: of a study of any kind, as a ledger keeps it.
    """
    spec = protocol["spec"]
    named = {f"{key}={value}" for key, value in _pairs({"spec": spec, "rules": protocol.get("rules")})}

    def meant(words: Any) -> list[str]:
        return [word for word in words if "=" not in word or word in named]

    unhonoured = protocol["unhonoured"]
    of_tasks = isinstance(unhonoured, Mapping)
    questions = [{**question, "cost": _places(question["cost"])} for question in spec.get("questions", ())]
    return {
        **protocol,
        "spec": {**spec, "questions": questions} if questions else spec,
        "unhonoured": {task: meant(words) for task, words in unhonoured.items()}
        if of_tasks
        else meant(unhonoured),
    }


def _places(cost: Mapping[str, int]) -> dict[str, int]:
    """Level -> its place in the order of cost, 0 for the cheapest."""
    order = sorted(cost, key=cost.__getitem__)
    return {level: order.index(level) for level in cost}


def _pairs(data: Any) -> Iterator[tuple[str, str]]:
    """Every (factor, level) that is stated somewhere in plain data, and pairs of other words."""
    if isinstance(data, Mapping):
        if isinstance(data.get("factor"), str) and isinstance(data.get("levels"), list):
            yield from ((data["factor"], str(level)) for level in data["levels"])
        for key, value in data.items():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str):
                    yield str(key), one
            yield from _pairs(value)
    elif isinstance(data, list):
        for one in data:
            yield from _pairs(one)
