"""What a study asks: which levels of one factor to compare, where, and against which textbook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Question:
    """One scientific factor in one or more regimes; each regime gets its own verdict."""

    factor: str
    levels: tuple[str, ...]
    """The levels compared, at least two."""
    regimes: tuple[str, ...]
    cost: Mapping[str, int]
    """Level -> cost rank, unique: ties go to the smallest."""
    textbook: Mapping[str, tuple[str, ...]]
    """Regime -> the textbook's level set; enters only the label of a row and its marked fallback."""
    alpha: float = 0.05
    """Chance of a wrong recommendation that is accepted (one-sided, before correction)."""

    def __post_init__(self) -> None:
        if len(self.levels) < 2:
            raise ValueError(f"question on '{self.factor}': at least two levels are needed")
        if set(self.cost) != set(self.levels) or len(set(self.cost.values())) != len(self.levels):
            raise ValueError(f"question on '{self.factor}': every level needs a cost rank of its own")

    @property
    def by_cost(self) -> tuple[str, ...]:
        """The levels, cheapest first."""
        return tuple(sorted(self.levels, key=self.cost.__getitem__))
