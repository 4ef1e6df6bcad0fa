"""A study that goes on with a user's own network: is it the network that the study began with?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reports.evidence.budget import TaskFacts
from studies.comparison.own_networks import without_network
from studies.comparison.protocol import ComparisonProtocol
from studies.ledger.protocol_hash import as_recorded
from studies.range_scan.protocol import RangeScanProtocol
from studies.search.protocol import SearchProtocol
from studies.spec.errors import SpecError

if TYPE_CHECKING:
    from studies.ledger.ledger import StudyRow

Fixed = ComparisonProtocol | SearchProtocol | RangeScanProtocol

PARTS = {
    "source": "its source",
    "structure": "its modules or shapes",
    "probe": "what it gives for the first items",
    "inputs": "what it is given",
}
"""What a network is known by -> in words."""


def as_started(fixed: Fixed, row: StudyRow | None) -> tuple[Fixed, tuple[str, ...]]:
    """The protocol in the form in which the ledger has it, and what a user should know.

    A study that began before networks were recorded goes on as it began: which network it had is not known.

    Args:
        fixed: as it is now.
        row: the study's in the ledger; None: it begins.

    Raises:
        SpecError: a task's own network has changed since.
    """
    facts, notes = list(_facts(fixed)), []
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
                fixed.study.file,
                "tasks",
                f"the network of task '{now.name}' changed since '{row.name}' was started "
                f"({', '.join(changed)}); results of two networks are not to be mixed: undo the change, or "
                "rename the study or use another workspace",
            )
    return (_with(fixed, facts) if notes else fixed), tuple(notes)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two networks, in words."""
    return [words for part, words in PARTS.items() if then.get(part) != now.get(part)]


def _facts(fixed: Fixed) -> Iterator[TaskFacts]:
    if isinstance(fixed, RangeScanProtocol):
        yield from fixed.fixed.facts.values()
    elif isinstance(fixed, SearchProtocol):
        yield fixed.facts
    else:
        yield from fixed.facts.values()


def _with(fixed: Fixed, facts: list[TaskFacts]) -> Fixed:
    if isinstance(fixed, SearchProtocol):
        return replace(fixed, facts=facts[0])
    by_name = {fact.name: fact for fact in facts}
    if isinstance(fixed, RangeScanProtocol):
        return replace(fixed, fixed=replace(fixed.fixed, facts=by_name))
    return replace(fixed, facts=by_name)


def _recorded(row: StudyRow | None, task: str) -> Mapping[str, Any] | None:
    if row is None:
        return None
    with as_recorded(row.name):
        return next((fact for fact in row.protocol["facts"] if fact["name"] == task), None)
