"""The nouns of a search space: where a value comes from, what may vary, and how far."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

Built = TypeVar("Built", covariant=True)

Entry = Literal["structure", "weights", "numbers"]
"""How a level enters training: it changes the graph, only the tensors at step 0, or only scalars
and tables that every member of a pack may have of its own."""

DEEP_FROM = 8
"""Hidden layers from which the textbook's "if deep" is meant (shallow is 2-3, deep is 8+)."""


def unknown(what: str, name: object, allowed: Iterable[str]) -> ValueError:
    """The error for an unknown name: states the rule, the nearest name and all allowed ones."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return ValueError(f"unknown {what} '{name}'{hint} Allowed: {', '.join(names)}")


def rounded(value: float) -> float:
    """`value` at 6 significant digits, so that an id never depends on the last bit."""
    return float(f"{value:.6g}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a statement comes from."""

    document: str
    """A seed document ('001'), a paper with its arXiv number, or a library with its version."""
    claim: str
    """What it says, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """One number that a level opens: its limits, its scale and its library default."""

    name: str
    low: float
    high: float
    default: float
    """What the library uses when nobody chooses: trial 0 of every search. Within the limits."""
    log: bool = False
    """Draw uniformly in the logarithm."""
    log_of_complement: bool = False
    """Draw uniformly in the logarithm of 1 minus the value: for shares near 1, such as momentum."""
    whole: bool = False
    """Whole numbers only (a setting, such as batch_size)."""
    meaning: str
    """One line for the catalogue, with the unit."""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.low, self.high, self.default))):
            raise ValueError(f"range '{self.name}': limits and default must be finite")
        if not self.low < self.high:
            raise ValueError(f"range '{self.name}': low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"range '{self.name}': a log range must start above 0")
        if self.log_of_complement and (self.log or self.high >= 1):
            raise ValueError(f"range '{self.name}': 1 minus the value must stay above 0, on one log scale")

    def at(self, unit: float) -> float:
        """The value at `unit` in [0, 1] of the range, rounded to 6 significant digits (or `whole`)."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        place = low + unit * (high - low)
        if self.log_of_complement:
            value = -math.expm1(-place)
        else:
            value = math.exp(place) if self.log else place
        return self._inside(float(round(value)) if self.whole else rounded(value))

    def unit(self, value: float) -> float:
        """Where `value` lies in the range, 0 at `low` and 1 at `high` (the inverse of `at`)."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def check(self, value: float) -> float:
        """`value` as a float; ValueError unless it is finite and within the limits.

        The default itself is always allowed: a library default of 0 may lie outside a log range.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{self.name} must be a number, not {value!r}")
        if value != self.default and not self.low <= value <= self.high:
            raise ValueError(f"{self.name} = {value} is outside its limits [{self.low:g}, {self.high:g}]")
        return float(value)

    def narrowed(self, low: float, high: float) -> Range:
        """The same number searched between `low` and `high`; ValueError beyond its own limits."""
        span = f"{self.name}: [{low:g}, {high:g}]"
        if low >= high:
            raise ValueError(f"{span} must rise: low < high, within [{self.low:g}, {self.high:g}]")
        if not self.low <= low < high <= self.high:  # NaN too
            raise ValueError(f"{span} must lie within its limits [{self.low:g}, {self.high:g}]")
        return replace(self, low=low, high=high)

    def _scaled(self, value: float) -> float:
        """`value` on the scale that is drawn from uniformly; rises with it."""
        if self.log_of_complement:
            return -math.log1p(-value)
        return math.log(value) if self.log else value

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class Level(Generic[Built]):
    """One choice of a factor: a name, the function that builds it, and why it is here."""

    name: str
    build: Built
    enters: Entry
    source: Source
    cost_rank: float
    """Unique within the factor, smallest is cheapest: ties are given to the cheapest. A level between two
    others may have a rank between theirs."""
    ranges: tuple[Range, ...] = ()
    """The numbers this level opens; they exist only where the level is chosen."""
    note: str = ""
    """Where we deviate from the source."""
    formula: str = ""
    """What it does, for the catalogue, where the function behind it does not say so in its own words."""


@dataclass(frozen=True, kw_only=True)
class Factor(Generic[Built]):
    """One thing that may vary, with its levels in the order in which tables list them.

    Examples:
        >>> from search_spaces.catalog import FACTORS
        >>> FACTORS["optimizer"].framework_default
        'sgd'
        >>> [span.name for span in FACTORS["optimizer"].level("adamw").ranges]
        ['learning_rate', 'beta1', 'beta2', 'eps', 'weight_decay']
    """

    name: str
    meaning: str
    levels: tuple[Level[Built], ...]
    framework_default: str
    """The level a PyTorch user gets without choosing."""
    textbook_shallow: tuple[str, ...]
    """The textbook's level(s) for shallow networks; more than one where it says 'A or B'."""
    textbook_deep: tuple[str, ...]

    def __post_init__(self) -> None:
        ranks = [level.cost_rank for level in self.levels]
        if len(set(self.names)) != len(self.names) or len(set(ranks)) != len(ranks):
            raise ValueError(f"factor '{self.name}': level names and cost ranks must be unique")
        for name in (self.framework_default, *self.textbook_shallow, *self.textbook_deep):
            self.level(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(level.name for level in self.levels)

    def level(self, name: str) -> Level[Built]:
        """The level of that name; ValueError naming the nearest and all allowed ones."""
        for level in self.levels:
            if level.name == name:
                return level
        raise unknown(f"level of factor '{self.name}'", name, self.names)

    def textbook(self, depth: int) -> tuple[str, ...]:
        """What the textbook's table says for a network with `depth` hidden layers."""
        return self.textbook_deep if depth >= DEEP_FROM else self.textbook_shallow
