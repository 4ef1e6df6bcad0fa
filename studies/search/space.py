"""The joint conditional space of a search study: choices, and numbers that a choice may open or close."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from reports.evidence.search_record import Dimension
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_NAMES, Config, Setting
from search_spaces.factor import Range
from search_spaces.overrides import Overrides, Value
from search_spaces.space import complete, framework_levels, open_ranges, setting_range

Point = Mapping[str, Value]
"""Parameter -> value, for every parameter that is open there; choices come first."""

Limits = tuple[float, float] | None
"""Of a number: lowest and highest value searched; None for the catalogue's."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a search may choose, over what it holds."""

    choices: Mapping[str, tuple[Value, ...]]
    """Factor or setting -> the values to choose from."""
    numbers: Mapping[str, Limits]
    """Number, or whole-numbered setting, that is searched wherever it is open."""
    held: Overrides
    """Levels, numbers and settings of every trial; a choice overrules them."""

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Every parameter: the choices as listed, then the numbers by name."""
        dimensions = {name: Dimension(name=name, values=values) for name, values in self.choices.items()}
        places = [dict(self.open(picked)) for picked in self.pairs()]
        for parameter in sorted({name for place in places for name in place}):
            span = next(place[parameter] for place in places if parameter in place)
            always = all(parameter in place for place in places)
            dimensions[parameter] = Dimension(
                name=parameter,
                low=span.low,
                high=span.high,
                log=span.log,
                whole=span.whole,
                where=() if always else self._where(parameter),
            )
        return tuple(dimensions.values())

    def open(self, picked: Mapping[str, Value]) -> Iterator[tuple[str, Range]]:
        """The numbers that the choices open, as (parameter, limits), in name order.

        Args:
            picked: a value for every choice.

        Raises:
            ValueError: limits beyond those of the number there.
        """
        levels = self.levels(picked)
        spans = open_ranges(levels)
        for name in sorted(self.numbers):
            if name in SETTING_NAMES:
                yield name, self._setting_span(name)
            elif name in spans:
                yield self._parameter(name, levels), self._narrowed(name, spans[name])

    def config(self, point: Point) -> Config:
        """The complete configuration at a point: what is not searched is held, or at its library default."""
        picked = {name: point[name] for name in self.choices}
        levels = self.levels(picked)
        values: dict[str, float] = {}
        setting = dict(self.held.setting)
        for parameter, span in self.open(picked):
            if span.name in SETTING_NAMES:
                setting[span.name] = int(point[parameter])
            else:
                values[span.name] = float(point[parameter])
        setting |= {name: value for name, value in picked.items() if name in SETTING_NAMES}
        held = {name: value for name, value in self.held.numbers.items() if name in open_ranges(levels)}
        return complete(levels, {**held, **values}, setting=Setting(**setting))

    def point(self, config: Config) -> Point:
        """The inverse of `config`."""
        picked: dict[str, Value] = {
            name: getattr(config.setting, name) if name in SETTING_NAMES else config.levels[name]
            for name in self.choices
        }
        point = dict(picked)
        for parameter, span in self.open(picked):
            of_setting = span.name in SETTING_NAMES
            point[parameter] = getattr(config.setting, span.name) if of_setting else config.numbers[span.name]
        return point

    def pairs(self) -> Iterator[dict[str, Value]]:
        """Values for every choice, such that every pair of values occurs together at least once.

        Pairs suffice: what a level opens depends on one other factor at most (optimizer and weight decay).
        """
        first = {name: values[0] for name, values in self.choices.items()}
        if len(self.choices) < 2:
            yield from (
                [{name: value} for name, values in self.choices.items() for value in values] or [first]
            )
            return
        seen: set[tuple[Value, ...]] = set()
        for a, b in itertools.combinations(self.choices, 2):
            for value_a, value_b in itertools.product(self.choices[a], self.choices[b]):
                one = {**first, a: value_a, b: value_b}
                key = tuple(one.values())
                if key not in seen:
                    seen.add(key)
                    yield one

    def levels(self, picked: Mapping[str, Value]) -> dict[str, str]:
        """Factor -> level with those choices."""
        chosen = {name: str(value) for name, value in picked.items() if name in FACTORS}
        return {**framework_levels(), **self.held.levels, **chosen}

    def _parameter(self, number: str, levels: Mapping[str, str]) -> str:
        """The number's own name, or with its level's where levels differ in its limits."""
        return f"{_opener(number, levels)[1]}.{number}" if number in self._divided else number

    @cached_property
    def _divided(self) -> frozenset[str]:
        """Numbers whose limits depend on the level, or whose name is that of a choice."""
        limits: dict[str, set[tuple[float, float, bool]]] = {}
        for picked in self.pairs():
            for name, span in open_ranges(self.levels(picked)).items():
                if name in self.numbers:
                    narrow = self._narrowed(name, span)
                    limits.setdefault(name, set()).add((narrow.low, narrow.high, narrow.log))
        return frozenset(name for name, spans in limits.items() if len(spans) > 1 or name in self.choices)

    def _where(self, parameter: str) -> tuple[str, ...]:
        """The choices that open a parameter which is not always open."""
        openers: dict[str, None] = {}
        for picked in self.pairs():
            levels = self.levels(picked)
            for name, span in self.open(picked):
                if name == parameter:
                    openers["=".join(_opener(span.name, levels))] = None
        return tuple(openers)

    def _narrowed(self, number: str, span: Range) -> Range:
        limits = self.numbers[number]
        return span.narrowed(*limits) if limits else span

    def _setting_span(self, name: str) -> Range:
        limits = self.numbers[name]
        assert limits is not None, "the limits of a setting are always stated"
        usual = getattr(Setting(**self.held.setting), name)
        return setting_range(name, *limits, usual)


def _opener(number: str, levels: Mapping[str, str]) -> tuple[str, str]:
    """The factor and level whose range of a number holds: the catalogue's first, as in `open_ranges`."""
    return next(
        (name, levels[name])
        for name, factor in FACTORS.items()
        if any(span.name == number for span in factor.level(levels[name]).ranges)
    )
