"""How many members a study trains: one count for its plan, its run, its status and its time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

ChainKey = tuple[str, str, str]
"""Factor, task, regime; factor '' is the pilot."""


@dataclass(frozen=True, kw_only=True)
class PlannedPart:
    """The members of one factor on one task in one regime, or of one pilot."""

    key: ChainKey
    members: Mapping[str, int]
    """Phase -> members."""
    cells: int = 0
    """Searches that end in a confirmation."""
    member_work: float = 1.0
    """Of one member, in the unit of the time left."""
    inherited: int = 0
    """Members that the studies that this one extends have trained."""
    inherited_diverged: int = 0
    """As many of these as diverged."""
    inherited_cells: int = 0

    @property
    def total(self) -> int:
        """Members of all phases."""
        return sum(self.members.values())


@dataclass(frozen=True, kw_only=True)
class PlannedWork:
    """Everything that a study trains; an estimate until its pilot and its races are over."""

    parts: tuple[PlannedPart, ...]
    phases: tuple[str, ...] = ()
    """Listed first in `by_phase`, and also where they have no members."""
    confirmations: int = 0
    """Confirmation members of one cell, both arms; 0 where a study has no cells."""

    @cached_property
    def by_phase(self) -> dict[str, int]:
        """Phase -> members."""
        counts = Counter(dict.fromkeys(self.phases, 0))
        for part in self.parts:
            counts.update(part.members)
        return dict(counts)

    @cached_property
    def by_key(self) -> dict[ChainKey, int]:
        """Factor, task, regime -> members."""
        counts: Counter[ChainKey] = Counter()
        for part in self.parts:
            counts[part.key] += part.total
        return dict(counts)

    @cached_property
    def total(self) -> int:
        """Members of all phases."""
        return sum(part.total for part in self.parts)

    @cached_property
    def cells(self) -> int:
        """Searches that end in a confirmation."""
        return sum(part.cells for part in self.parts)

    @cached_property
    def work(self) -> float:
        """Of all members, in the unit of `PlannedPart.member_work`."""
        return sum(part.total * part.member_work for part in self.parts)

    @cached_property
    def inherited(self) -> int:
        """Members that the studies that this one extends have trained."""
        return sum(part.inherited for part in self.parts)

    @cached_property
    def inherited_by_key(self) -> dict[ChainKey, int]:
        """Factor, task, regime -> as many of them."""
        counts: Counter[ChainKey] = Counter()
        for part in self.parts:
            counts[part.key] += part.inherited
        return dict(counts)

    @cached_property
    def inherited_diverged(self) -> int:
        """As many of them as diverged."""
        return sum(part.inherited_diverged for part in self.parts)

    @cached_property
    def inherited_cells(self) -> int:
        """Searches whose confirmation was trained there."""
        return sum(part.inherited_cells for part in self.parts)

    @cached_property
    def inherited_work(self) -> float:
        """The work behind the inherited members."""
        return sum(part.inherited * part.member_work for part in self.parts)
