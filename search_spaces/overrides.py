"""A change of a configuration: factor levels, numbers and settings that are stated together.

A regime is one, so is what a study fixes, and so is each level of a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["factor", "number", "setting"]
Value = str | float | int | bool
"""What a study file may say of a factor, a number or a setting."""


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What is stated; everything else is left as it is. `search_spaces.vocabulary.read` checks it."""

    levels: Mapping[str, str] = field(default_factory=dict)
    """Factor -> level."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Number -> value."""
    setting: Mapping[str, Any] = field(default_factory=dict)
    """Field of `search_spaces.config.Setting` -> value."""

    def over(self, base: Overrides) -> Overrides:
        """Both together; where both state something, this one holds."""
        return Overrides(
            levels={**base.levels, **self.levels},
            numbers={**base.numbers, **self.numbers},
            setting={**base.setting, **self.setting},
        )

    @property
    def parts(self) -> frozenset[tuple[Kind, str]]:
        """What is stated, as (kind, name): a factor and a number may share a name (weight_decay)."""
        kinds: tuple[tuple[Kind, Mapping[str, Any]], ...] = (
            ("factor", self.levels),
            ("number", self.numbers),
            ("setting", self.setting),
        )
        return frozenset((kind, name) for kind, stated in kinds for name in stated)

    def words(self) -> dict[str, Any]:
        """As a study file says it: name -> value, or [level, value] for a name that is both."""
        words: dict[str, Any] = {**self.setting, **self.levels}
        for name, value in self.numbers.items():
            words[name] = [self.levels[name], value] if name in self.levels else value
        return words


def spelled(value: Value) -> str:
    """The text that stands for a value: the name of a level, a number at 6 digits, true or false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
