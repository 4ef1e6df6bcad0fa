"""Where a question puts the trainer: what is fixed, the background, the regime and the level, together."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.factor import Range
from search_spaces.overrides import Overrides
from search_spaces.space import framework_levels, open_ranges, setting_range
from studies.spec.questions import ParsedQuestion
from studies.spec.study_spec import StudySpec


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """One level of one question in one regime, on one background."""

    factor: str
    level: str
    regime: str
    point: Overrides
    """A level for every factor, the numbers that are stated, and the regime's setting."""
    background: Mapping[str, str]

    def __str__(self) -> str:
        backdrop = "".join(f", {factor}={level}" for factor, level in self.background.items())
        return f"{self.factor}={self.level} in {self.regime}{backdrop}"


def point(
    spec: StudySpec,
    *,
    regime: str,
    background: Mapping[str, str],
    change: Overrides,
    unhonoured: Collection[str] = (),
) -> Overrides:
    """What holds for one level of one question before anything is tuned.

    What is fixed is overruled by the background, that by the regime, and that by the level itself. A number
    that is fixed or belongs to a regime holds wherever it is open.

    Args:
        spec: the study.
        regime: where.
        background: factor -> level on this task.
        change: what the question's level states.
        unhonoured: factors and levels (factor=level) in whose place the framework's default stands here.
    """
    usual = framework_levels()
    base = Overrides(levels=background).over(
        Overrides(levels={**usual, **spec.held}, numbers=spec.stated.numbers, setting=spec.setting)
    )
    below = spec.change(regime).over(base)
    levels = taken({**below.levels, **change.levels}, unhonoured)
    spans = open_ranges(levels)
    numbers = {name: value for name, value in below.numbers.items() if name in spans}
    return Overrides(
        levels=levels,
        numbers={**numbers, **change.numbers},
        setting={**below.setting, **change.setting},
    )


def taken(levels: Mapping[str, str], unhonoured: Collection[str]) -> dict[str, str]:
    """Levels as a network of a user's own takes them: what it does not honour is the framework's default."""
    usual = framework_levels()
    return {
        factor: usual[factor] if {factor, f"{factor}={level}"} & set(unhonoured) else level
        for factor, level in levels.items()
    }


def design_points(
    spec: StudySpec, *, asked: Iterable[ParsedQuestion] | None = None, regimes: Iterable[str] | None = None
) -> Iterator[DesignPoint]:
    """Every level of every question in every regime, on backgrounds that hold every pair of levels.

    Pairs suffice: what a level opens hangs on one other factor at most (optimizer and weight decay). An
    asked factor sits at its first listed background, or at the framework's default, while others are asked.

    Args:
        spec: the study.
        asked: what is asked; None: its questions.
        regimes: where; None: in all.
    """
    questions = tuple(spec.understood if asked is None else asked)
    for regime in spec.regimes if regimes is None else regimes:
        backgrounds = list(_backgrounds(spec.backgrounds(regime)))
        for one in questions:
            for level, change in one.changes.items():
                for background in backgrounds:
                    found = point(spec, regime=regime, background=background, change=change)
                    yield DesignPoint(
                        factor=one.name, level=level, regime=regime, point=found, background=background
                    )


def searched(spec: StudySpec, place: Overrides) -> dict[str, Range]:
    """The nuisance numbers and settings that are searched at a point, in name order.

    A number is searched where it is open and not stated; every searched setting, everywhere.

    Raises:
        ValueError: a range beyond the limits of its number or setting.
    """
    spans = open_ranges(place.levels)
    found: dict[str, Range] = {}
    for name, limits in sorted(spec.nuisance.items()):
        if name in vars(spec.settings_of(place)):
            if limits is not None:
                usual = getattr(spec.settings_of(place), name)
                found[name] = setting_range(name, limits.low, limits.high, usual)
        elif name in spans and name not in place.numbers:
            found[name] = spans[name].narrowed(limits.low, limits.high) if limits else spans[name]
    return found


def _backgrounds(choices: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    first = {factor: levels[0] for factor, levels in choices.items()}
    if len(choices) < 2:
        yield from ({factor: level} for factor, levels in choices.items() for level in levels)
        if not choices:
            yield {}
        return
    seen: set[tuple[str, ...]] = set()
    for a, b in itertools.combinations(choices, 2):
        for level_a, level_b in itertools.product(choices[a], choices[b]):
            one = {**first, a: level_a, b: level_b}
            key = tuple(one.values())
            if key not in seen:
                seen.add(key)
                yield one
