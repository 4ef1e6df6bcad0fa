"""The file of a search study: one task, one joint space, so many trials. Data, never code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, Strict, ValidationError

from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES, Setting
from search_spaces.factor import unknown
from search_spaces.overrides import Overrides, Value
from search_spaces.space import framework_levels, open_ranges, openers
from search_spaces.vocabulary import NUMBERS, is_number, kinds
from search_spaces.vocabulary import read as read_words
from studies.search.space import Limits, Space
from studies.spec.errors import SpecError, unique
from studies.spec.limits import MAX_PLACES, backgrounds, check_size, member_bytes
from studies.spec.pydantic_errors import first_error
from studies.spec.questions import MOST, change_of
from studies.spec.resolved import plain_data
from studies.spec.sections import Few, Many, Name, Section, Text
from studies.spec.tracking_detail import SearchDetail
from studies.spec.validation import check_name
from trainers.diagnostics.names import Recorded

PARTS, LEAST, LARGEST = 2, 8, 64
"""A generation of one structure makes so many packs, of at least LEAST and at most LARGEST members, where the
file does not say how large packs may be. Two generations are open at a time, so that four workers have
something to do; with two of them a generation may as well be one pack, with eight packs should be smaller.
Not more parts, because few members are dearer: with mixed activations and update rules (perceptrons of 2 x
100 units, one thread of a busy EPYC core, torch 2.14.1, medians of 5) a member's step took 0.43 ms in two
packs of 50 and 0.47 in four of 25; 0.40 in one of 48, 0.42 in two of 24 and 0.55 in four of 12. And packs
narrow as trials are stopped."""

FEWEST_LOOKS = 3
"""Looks at a training that successive halving needs: two rungs and the end."""


class SearchSpec(Section):
    """A checked file of a search study; `studies.load_study.load` makes it."""

    kind: Literal["search"]
    """Says that this file is a search."""
    study: Name
    """The study's name, 1 to 64 of `A-Z a-z 0-9 . _ -`. It keys random streams, the ledger and MLflow."""
    title: Annotated[Text, Field(max_length=500)] = ""
    """The heading of the page."""
    tasks: tuple[Name, ...] = Field(min_length=1, max_length=1)
    """The one task that is searched on."""
    setting: dict[Text, Any] = Field(default_factory=dict)
    """The training setting of every trial, where it differs from the defaults."""
    fixed: dict[Text, Any] = Field(default_factory=dict)
    """Levels and numbers held in every trial."""
    space: dict[Text, Any] = Field(min_length=1, max_length=100)
    """Name -> what is searched: a list of levels or values; `all` levels of a factor; `{low, high}` of a
    number or a whole-numbered setting; nothing, for a number within the catalogue's limits; `{levels: [...],
    low, high}` where a name is both a factor and a number."""
    trials: Annotated[int, Strict(), Field(ge=1, le=10_000)] = 100
    """Configurations trained."""
    sampler: Literal["tpe", "gp", "random", "qmc"] = "tpe"
    """Optuna's sampler."""
    pruner: Literal["successive_halving", "none"] = "successive_halving"
    """Whether poor trials are stopped at 1/9 and 1/3 of their steps; it needs at least 3 `evaluations`."""
    generation: Few = 16
    """Trials sampled together; the generation after next waits for all of their results."""
    pack_size: Many | None = None
    """Members trained together as one stack, at most; by default half a generation, but 8 to 64."""
    diagnostics: Recorded = "evidence"
    """Whether every trial records signals and gradients; `none` turns it off. It changes no result."""
    tracking: SearchDetail = "members"
    """How much MLflow shows: every trial with its curve, or a summary (`cells`). It changes no result."""

    _file: str = PrivateAttr("study")

    @property
    def file(self) -> str:
        """Where it was read from, for messages."""
        return self._file

    @property
    def task(self) -> str:
        """The task that is searched on."""
        return self.tasks[0]

    @property
    def members_at_once(self) -> int:
        """Members of a pack, at most: by the study file alone, so that any number of workers packs alike."""
        return self.pack_size or min(LARGEST, max(LEAST, -(-self.generation // PARTS)))

    @cached_property
    def joint(self) -> Space:
        """The space, read with the catalogue.

        Raises:
            SpecError: the first thing in `setting`, `fixed` or `space` that it does not know.
        """
        setting = _checked_setting(self)
        fixed = change_of(self.fixed, file=self.file, key="fixed", only=("factor", "number"))
        choices: dict[str, tuple[Value, ...]] = {}
        numbers: dict[str, Limits] = {}
        for name, said in self.space.items():
            key = f"space.{name}"
            values, limits, searched = _understood(name, said, self.file, key)
            if values:
                choices[name] = values
            if searched:
                numbers[name] = limits
            if (values and name in fixed.levels) or (searched and name in fixed.numbers):
                raise SpecError(self.file, f"fixed.{name}", "what is searched cannot be fixed")
        levels = {**framework_levels(), **fixed.levels}
        held = Overrides(
            levels={factor: level for factor, level in levels.items() if factor not in choices},
            numbers=fixed.numbers,
            setting=asdict(setting),
        )
        space = Space(choices=choices, numbers=numbers, held=held)
        pairs = backgrounds(choices)
        if pairs > MAX_PLACES:
            rule = f"{pairs} pairs of values to choose from; a search has at most {MAX_PLACES}"
            raise SpecError(self.file, "space", rule)
        _check_size(self.file, space)
        _check_numbers(self, space)
        return space

    def resolved(self) -> dict[str, Any]:
        """Everything that holds, defaults included, as JSON-ready data: what the protocol hashes."""
        space: dict[str, Any] = {}
        for name in self.space:
            values, limits = self.joint.choices.get(name), self.joint.numbers.get(name)
            span = {"low": limits[0], "high": limits[1]} if limits else None
            if values and name in self.joint.numbers:
                space[name] = {"levels": values, **(span or {})}
            else:
                space[name] = values or span
        held = self.joint.held
        plain: dict[str, Any] = plain_data(
            {
                "kind": self.kind,
                "study": self.study,
                "title": self.title,
                "tasks": self.tasks,
                "setting": held.setting,
                "fixed": Overrides(levels=held.levels, numbers=held.numbers).words(),
                "space": space,
                "trials": self.trials,
                "sampler": self.sampler,
                "pruner": self.pruner,
                "generation": self.generation,
                "pack_size": self.members_at_once,
            }
        )
        return plain


def parse(data: Mapping[str, Any], *, file: str = "study") -> SearchSpec:
    """A spec from plain data, checked against the catalogue; `file` is named in errors.

    Raises:
        SpecError: the first thing that is wrong.
    """
    try:
        spec = SearchSpec.model_validate(dict(data))
    except ValidationError as error:
        raise first_error(error, file, SearchSpec, {}) from None
    spec._file = file
    check_name(file, spec.study)
    assert spec.joint is not None  # read now, so that every mistake is found here
    looks = spec.joint.held.setting["evaluations"]
    if spec.pruner != "none" and looks < FEWEST_LOOKS:
        rule = f"successive_halving needs at least {FEWEST_LOOKS} looks; setting evaluations = {looks}"
        raise SpecError(file, "pruner", f"{rule} (or pruner: none)")
    return spec


def _checked_setting(spec: SearchSpec) -> Setting:
    for name in spec.setting:
        if name not in SETTING_NAMES:
            raise SpecError(spec.file, "setting", str(unknown("setting", name, SETTING_NAMES)))
    try:
        return Setting(**spec.setting)
    except ValueError as error:
        raise SpecError(spec.file, "setting", str(error)) from None


def _check_size(file: str, space: Space) -> None:
    """SpecError where the largest member that may be chosen is larger than one may be."""
    largest: dict[str, int] = {}
    for name in ("depth", "width", "batch_size"):
        values = [int(value) for value in space.choices.get(name, ())]
        limits = space.numbers.get(name)
        if limits:
            values.append(int(min(limits[1], SETTING_LIMITS[name][1])))
        if values:
            largest[name] = max(values)
    usual = Setting(**space.held.setting)
    check_size(file, "space" if largest else "setting", member_bytes(usual, Overrides(setting=largest)))


def _understood(name: str, said: Any, file: str, key: str) -> tuple[tuple[Value, ...], Limits, bool]:
    """The values to choose from, the limits, and whether a number is searched."""
    try:
        can_be = kinds(name)
    except ValueError as error:
        raise SpecError(file, "space", str(error)) from None
    if name == "evaluations":
        raise SpecError(file, key, "how often we look cannot be searched: trials are compared at their looks")
    if isinstance(said, (list, tuple)) or said == "all":
        return _values(name, said, file, key), None, False
    if said is None:
        if "number" not in can_be:
            rule = "a list of values, or all" if "factor" in can_be else "a list of values, or {low, high}"
            raise SpecError(file, key, f"a {can_be[0]} takes {rule}")
        return (), None, True
    if not isinstance(said, Mapping):
        raise SpecError(file, key, f"{said!r} must be a list of values, all, {{low, high}}, or nothing")
    allowed = ("levels", "low", "high") if can_be == ("factor", "number") else ("low", "high")
    for word in said:
        if word not in allowed:
            raise SpecError(file, f"{key}.{word}", str(unknown("key", word, allowed)))
    values = _values(name, said["levels"], file, f"{key}.levels") if "levels" in said else ()
    ends = {word: said[word] for word in ("low", "high") if word in said}
    if not ends and values:
        return values, None, True
    if len(ends) < 2 or not all(is_number(end) for end in ends.values()):
        raise SpecError(file, key, f"{said!r} must state low and high, both numbers")
    if name not in SETTING_LIMITS and name not in NUMBERS:
        raise SpecError(file, key, f"{name} has no limits: it takes a list of values" + _or_all(name))
    return values, (float(ends["low"]), float(ends["high"])), True


def _values(name: str, said: Any, file: str, key: str) -> tuple[Value, ...]:
    """What a choice chooses from."""
    if said == "all":
        if name not in FACTORS:
            raise SpecError(file, key, "all stands for the levels of a factor; list the values")
        return FACTORS[name].names
    if not isinstance(said, (list, tuple)) or len(said) < 2:
        raise SpecError(file, key, f"{said!r} must be a list of at least 2 values" + _or_all(name))
    if name not in FACTORS and name not in SETTING_NAMES:
        raise SpecError(file, key, "a number takes {low, high}, or nothing for the catalogue's limits")
    if len(said) > MOST:
        raise SpecError(file, key, f"{len(said)} values; a choice has at most {MOST}")
    for value in said:
        try:
            stated = read_words({name: value})
        except ValueError as error:
            raise SpecError(file, key, str(error)) from None
        if stated.numbers:
            raise SpecError(file, key, f"{value!r} must be the name of a level")
    unique(file, key, [str(value) for value in said])
    return tuple(said)


def _or_all(name: str) -> str:
    return ", or all" if name in FACTORS else ""


def _check_numbers(spec: SearchSpec, space: Space) -> None:
    """Every number is opened by a level of this study, and searched or fixed within its limits."""
    opened: set[str] = set()
    for picked in space.pairs():
        spans = open_ranges(space.levels(picked))
        for name, value in space.held.numbers.items():
            if name in spans:
                opened.add(name)
                try:
                    spans[name].check(value)
                except ValueError as error:
                    raise SpecError(spec.file, f"fixed.{name}", str(error)) from None
        for name in space.numbers:
            alone = Space(choices=space.choices, numbers={name: space.numbers[name]}, held=space.held)
            try:
                opened |= {span.name for _, span in alone.open(picked)}
            except ValueError as error:
                raise SpecError(spec.file, f"space.{name}", str(error)) from None
    keys = {**dict.fromkeys(space.numbers, "space"), **dict.fromkeys(space.held.numbers, "fixed")}
    for name, key in keys.items():
        if name not in opened:
            rule = f"number '{name}' needs {' or '.join(openers(name))}, which no level of this study is"
            raise SpecError(spec.file, f"{key}.{name}", rule)
