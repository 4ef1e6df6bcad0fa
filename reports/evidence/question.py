"""What a study asks: which levels to compare, where, and against which textbook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from search_spaces.overrides import Kind, Overrides, spelled

ControlKind = Literal["a_a", "placebo", "positive"]
CONTROL_KINDS: tuple[ControlKind, ...] = get_args(ControlKind)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One scientific factor in one or more regimes; each regime gets its own verdict.

    What is compared may be levels of a factor, values of a number or a setting, or named combinations.
    """

    factor: str
    """The name of the factor, number or setting; of a combination, the study's own word for it."""
    levels: tuple[str, ...]
    """The levels compared, at least two."""
    regimes: tuple[str, ...]
    cost: Mapping[str, int]
    """Level -> cost rank, unique: ties go to the smallest."""
    textbook: Mapping[str, tuple[str, ...]]
    """Regime -> the textbook's level set; enters only the label of a row and its marked fallback. Empty
    where the textbook's table has no such row."""
    changes: Mapping[str, Overrides] = field(default_factory=dict)
    """Level -> what it states; a level that is not listed is the level of that name of `factor`."""
    control: ControlKind | None = None
    """None: a question that is answered. Otherwise a control (`evidence.control_arms`): no verdict, and
    a wrong answer invalidates the study. A positive control lists its known-better level first."""
    alpha: float = 0.05
    """Chance of a wrong recommendation that is accepted (one-sided, before correction)."""

    def __post_init__(self) -> None:
        if len(self.levels) < 2:
            raise ValueError(f"question on '{self.factor}': at least two levels are needed")
        if self.control and len(self.levels) != 2:
            raise ValueError(
                f"control '{self.factor}': exactly two levels are compared, not {len(self.levels)}"
            )
        if set(self.cost) != set(self.levels) or len(set(self.cost.values())) != len(self.levels):
            raise ValueError(f"question on '{self.factor}': every level needs a cost rank of its own")

    def change(self, level: str) -> Overrides:
        """What a level of this question states."""
        return self.changes.get(level) or Overrides(levels={self.factor: level})

    @property
    def parts(self) -> frozenset[tuple[Kind, str]]:
        """Everything that the levels may differ in, as (kind, name)."""
        return frozenset(part for level in self.levels for part in self.change(level).parts)

    @property
    def meanings(self) -> dict[str, str]:
        """Level -> what it states, of named combinations; {} where a level's name says it all."""
        if self.factor in {name for _, name in self.parts}:
            return {}
        return {level: _said(self.change(level)) for level in self.levels}

    def settings(self, name: str, usual: Any) -> tuple[Any, ...]:
        """The values of one setting over the levels as listed; `usual` where a level states none."""
        return tuple(dict.fromkeys(self.change(level).setting.get(name, usual) for level in self.levels))

    @property
    def by_cost(self) -> tuple[str, ...]:
        """The levels, cheapest first."""
        return tuple(sorted(self.levels, key=self.cost.__getitem__))


def _said(change: Overrides) -> str:
    """A change in words; a list is a level and its number."""
    said = []
    for name, value in sorted(change.words().items()):
        parts = value if isinstance(value, list) else [value]
        said.append(f"{name} {' '.join(spelled(part) for part in parts)}")
    return ", ".join(said) or "nothing changed"
