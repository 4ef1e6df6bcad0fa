"""What a question varies: levels of a factor, values of a number or a setting, or named combinations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, Setting
from search_spaces.overrides import Overrides, spelled
from search_spaces.regularization_rows import BUNDLES
from search_spaces.vocabulary import NUMBERS, kinds, read
from studies.spec.errors import SpecError, unique

FEWEST, MOST = 2, 100
"""Levels of one question."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class ParsedQuestion:
    """A question as it is understood."""

    name: str
    kind: Literal["factor", "number", "setting", "combination"]
    changes: Mapping[str, Overrides]
    """Level -> what it states, in the order listed."""

    def cost(self, usual: float | None = None) -> dict[str, int]:
        """Level -> cost rank, unique; ties between levels go to the smallest.

        A factor's levels stand in the catalogue's order, ranked among themselves: what else the catalogue
        holds is no part of a study. Of a number the library default comes first, then the order listed; of
        a setting the smaller value (fewer operations), or where it is no number the default and then the
        order listed; combinations stand in the order listed.

        Args:
            usual: the number's library default, where the question is about a number.
        """
        order = list(self.changes)
        if self.kind == "factor":
            order.sort(key=lambda level: FACTORS[self.name].level(level).cost_rank)
        if self.kind == "number" and usual is not None:
            order.sort(key=lambda level: self.changes[level].numbers[self.name] != usual)
        if self.kind == "setting":
            first = getattr(Setting(), self.name)
            whole = self.name in SETTING_LIMITS
            values = {level: change.setting[self.name] for level, change in self.changes.items()}
            order.sort(key=lambda level: values[level] if whole else values[level] != first)
        return {level: rank for rank, level in enumerate(order)}

    def textbook(self, depth: int) -> tuple[str, ...]:
        """The textbook's levels for that many hidden layers; its table has rows for factors and bundles."""
        if self.name in BUNDLES:
            means = BUNDLES[self.name].means
            return tuple(level for level, change in self.changes.items() if means(change))
        return FACTORS[self.name].textbook(depth) if self.kind == "factor" else ()

    def said(self) -> list[Any] | dict[str, Any]:
        """The levels as a study file lists them."""
        words = {level: change.words() for level, change in self.changes.items()}
        if self.kind == "combination":
            return words
        return [stated[self.name] for stated in words.values()]


def parse_question(name: str, levels: Any, *, file: str, key: str) -> ParsedQuestion:
    """A question of a study file, checked against the catalogue.

    Args:
        name: what it is called: a factor, a number or a setting, or a free word with named combinations.
        levels: a list of level names or values, or a mapping from names to changes.
        file: the study file, for messages.
        key: the question's place in it.

    Raises:
        SpecError: anything that is wrong.
    """
    if not isinstance(levels, (list, tuple, Mapping)) or not FEWEST <= len(levels) <= MOST:
        most = "at most" if isinstance(levels, (list, tuple, Mapping)) and len(levels) > MOST else "at least"
        rule = f"a list of {most} {MOST if most == 'at most' else FEWEST}"
        raise SpecError(file, f"{key}.levels", f"{_short(levels)} must be {rule}")
    if isinstance(levels, Mapping):
        return _combination(name, levels, file, key)
    try:
        can_be = kinds(name)
    except ValueError as error:
        rule = f"{error} (named combinations take a mapping of levels)"
        raise SpecError(file, f"{key}.factor", rule) from None
    changes: dict[str, Overrides] = {}
    for value in levels:
        try:
            change = read({name: value})
        except ValueError as error:
            raise SpecError(file, f"{key}.levels", str(error)) from None
        text = spelled(change.words()[name]) if len(change.parts) == 1 else ""
        if not text:
            raise SpecError(file, f"{key}.levels", f"{value!r} must be one level or one value")
        unique(file, f"{key}.levels", [*changes, text])
        changes[text] = change
    parts = {part for change in changes.values() for part in change.parts}
    if len(parts) > 1:
        either = f"levels of the {can_be[0]} or values of the {can_be[1]}, not both"
        raise SpecError(file, f"{key}.levels", f"{_short(list(levels))} must be {either}")
    ((kind, _),) = parts
    return ParsedQuestion(name=name, kind=kind, changes=changes)


def _combination(name: str, levels: Mapping[Any, Any], file: str, key: str) -> ParsedQuestion:
    taken = {*FACTORS, *NUMBERS, *SETTING_LIMITS, *vars(Setting())}
    if name in taken or not NAME.fullmatch(name):
        rule = "combinations take a free name of 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        raise SpecError(file, f"{key}.factor", f"'{name}' cannot name combinations: {rule}")
    changes = {}
    for level, stated in levels.items():
        place = f"{key}.levels.{level}"
        if not isinstance(level, str) or not NAME.fullmatch(level):
            rule = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
            raise SpecError(file, f"{key}.levels", f"{_short(level)} {rule}")
        changes[level] = change_of(stated, file=file, key=place)
    said = [change.words() for change in changes.values()]
    for i, (level, words) in enumerate(zip(changes, said, strict=True)):
        if words in said[:i]:
            twin = list(changes)[said.index(words)]
            raise SpecError(file, f"{key}.levels.{level}", f"states the same as {twin}")
    return ParsedQuestion(name=name, kind="combination", changes=changes)


def change_of(stated: Any, *, file: str, key: str, only: tuple[str, ...] = ()) -> Overrides:
    """The change that a mapping of a study file states.

    Args:
        stated: name -> value.
        file: the study file, for messages.
        key: the mapping's place in it.
        only: the kinds that may stand here; () for all.

    Raises:
        SpecError: no mapping, an unknown name or value, or a name of another kind.
    """
    if not isinstance(stated, Mapping):
        raise SpecError(file, key, f"must be a mapping of names to values, not {_short(stated)}")
    whole = Overrides()
    for name, value in stated.items():
        try:
            change = read({name: value})
        except ValueError as error:
            known = isinstance(name, str) and name in {*FACTORS, *NUMBERS, *vars(Setting())}
            raise SpecError(file, f"{key}.{name}" if known else key, str(error)) from None
        for kind, _ in change.parts:
            if only and kind not in only:
                rule = f"'{name}' is a {kind}; here stand {' and '.join(f'{one}s' for one in only)}"
                raise SpecError(file, f"{key}.{name}", rule)
        whole = change.over(whole)
    return whole


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
