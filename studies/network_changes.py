"""A study that goes on with a user's own network: is it the network that the study began with?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studies.comparison.own_networks import without_network
from studies.kinds import AnyProtocol
from studies.ledger.protocol_hash import as_recorded
from studies.spec.errors import SpecError

if TYPE_CHECKING:
    from studies.ledger.ledger import StudyRow


PARTS = {
    "source": "its source",
    "structure": "its modules or shapes",
    "probe": "what it gives for the first items",
    "inputs": "what it is given",
}
"""What a network is known by -> in words."""


def as_started(protocol: AnyProtocol, row: StudyRow | None) -> tuple[AnyProtocol, tuple[str, ...]]:
    """The protocol in the form in which the ledger has it, and what a user should know.

    A study that began before networks were recorded goes on as it began: which network it had is not known.

    Args:
        protocol: as it is now.
        row: the study's in the ledger; None: it begins.

    Raises:
        SpecError: a task's own network has changed since.
    """
    facts, notes = list(protocol.task_facts), []
    for i, now in enumerate(facts):
        then = _recorded(row, now.name)
        if then is None or now.network is None:
            continue
        if "network" not in then:
            facts[i] = without_network(now)
            notes.append(
                f"task {now.name}: the study began before networks were recorded, so nobody can say whether "
                "its network is still the one that it began with"
            )
        elif changed := changes(then["network"], now.network):
            assert row is not None
            raise SpecError(
                protocol.study.file,
                "tasks",
                f"the network of task '{now.name}' changed since '{row.name}' was started "
                f"({', '.join(changed)}); results of two networks are not to be mixed: undo the change, or "
                "rename the study or use another workspace",
            )
    return (protocol.with_task_facts(facts) if notes else protocol), tuple(notes)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two networks, in words."""
    return [words for part, words in PARTS.items() if then.get(part) != now.get(part)]


def _recorded(row: StudyRow | None, task: str) -> Mapping[str, Any] | None:
    if row is None:
        return None
    with as_recorded(row.name):
        return next((fact for fact in row.protocol["facts"] if fact["name"] == task), None)
