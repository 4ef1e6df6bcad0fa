"""What a study file may say, beyond its shape: the catalogue's names, and what the keys say together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_NAMES
from search_spaces.factor import Range, unknown
from search_spaces.space import open_ranges

if TYPE_CHECKING:
    from studies.spec import StudySpec

MAX_MEMBERS = 1_000_000
"""More members than this is a mistake in the file, not a study."""


class SpecError(ValueError):
    """A mistake in a study file: one message with file, key and rule."""

    def __init__(self, file: str, key: str, rule: str) -> None:
        super().__init__(f"{file}: {key}: {rule}" if key else f"{file}: {rule}")


def check(spec: StudySpec) -> None:
    """SpecError for the first thing in `spec` that the catalogue does not know or that contradicts."""
    file = spec.file
    if not spec.study.strip("."):
        raise SpecError(file, "study", f"'{spec.study}' must contain more than dots")
    asked: set[str] = set()
    for i, question in enumerate(spec.questions):
        key = f"questions[{i}]"
        _levels(file, f"{key}.factor", f"{key}.levels", question.factor, question.levels)
        if question.factor in asked:
            raise SpecError(file, f"{key}.factor", f"'{question.factor}' is asked twice; join its levels")
        asked.add(question.factor)
    for factor, level in spec.fixed.items():
        _levels(file, "fixed", f"fixed.{factor}", factor, (level,))
        if factor in asked:
            raise SpecError(file, f"fixed.{factor}", "a factor that a question asks about cannot be fixed")
        if factor in spec.background:
            raise SpecError(file, f"fixed.{factor}", "a factor cannot be both fixed and in the background")
    for factor, levels in spec.background.items():
        _levels(file, "background", f"background.{factor}", factor, levels)
    unique(file, "tasks", spec.tasks)
    _check_settings(spec)
    _check_budget(spec)
    _check_nuisance(spec)


def _levels(file: str, factor_key: str, level_key: str, factor: str, levels: Iterable[str]) -> None:
    if factor not in FACTORS:
        raise SpecError(file, factor_key, str(unknown("factor", factor, FACTORS)))
    for level in levels:
        try:
            FACTORS[factor].level(level)
        except ValueError as error:
            raise SpecError(file, level_key, str(error)) from None
    unique(file, level_key, levels)


def _check_settings(spec: StudySpec) -> None:
    for regime, changes in spec.regimes.items():
        for key, part in (("setting", spec.setting), (f"regimes.{regime}", changes)):
            for name in part:
                if name not in SETTING_NAMES:
                    raise SpecError(spec.file, key, str(unknown("setting", name, SETTING_NAMES)))
        try:
            spec.settings(regime)
        except ValueError as error:
            culprit = next((name for name in changes if f"setting {name} " in str(error)), None)
            key = f"regimes.{regime}" if culprit or not spec.setting else "setting"
            raise SpecError(spec.file, key, str(error)) from None


def _check_budget(spec: StudySpec) -> None:
    budget = spec.effective_budget
    if budget.promoted > budget.trials:
        rule = f"{budget.promoted} cannot be more than trials = {budget.trials}"
        raise SpecError(spec.file, "budget.promoted", rule)
    levels = sum(len(question.levels) for question in spec.questions)
    members = levels * len(spec.regimes) * spec.families * budget.blocks * budget.runs_per_cell
    if members > MAX_MEMBERS:
        raise SpecError(spec.file, "budget", f"{members} members; a study has at most {MAX_MEMBERS}")


def _check_nuisance(spec: StudySpec) -> None:
    """Every nuisance number is opened by a level of this study, and searched within its limits."""
    opened: dict[str, list[tuple[str, Range]]] = {}
    for levels in _reachable(spec):
        named = ", ".join(f"{factor} {level}" for factor, level in levels.items())
        for name, span in open_ranges({**spec.held, **levels}).items():
            opened.setdefault(name, []).append((named, span))
    for name, wish in spec.nuisance.items():
        if name not in opened:
            rule = str(unknown("nuisance number", name, opened))
            raise SpecError(spec.file, "nuisance", f"{rule} (numbers that the study's levels open)")
        for named, span in opened[name] if wish else ():
            try:
                span.narrowed(wish.low, wish.high) if wish else None
            except ValueError as error:
                raise SpecError(spec.file, f"nuisance.{name}", f"{error} of {named}") from None


def _reachable(spec: StudySpec) -> Iterable[dict[str, str]]:
    """Levels for every open factor, such that every pair of levels occurs together at least once.

    Pairs suffice: what a level opens hangs on one other factor at most (optimizer and weight decay).
    """
    choices: dict[str, list[str]] = {q.factor: list(q.levels) for q in spec.questions}
    for factor, levels in spec.background.items():
        choices[factor] = list(dict.fromkeys((*choices.get(factor, ()), *levels)))
    first = {factor: levels[0] for factor, levels in choices.items()}
    if len(choices) == 1:
        (factor,) = choices
        yield from ({factor: level} for level in choices[factor])
    for a, b in itertools.combinations(choices, 2):
        for level_a, level_b in itertools.product(choices[a], choices[b]):
            yield {**first, a: level_a, b: level_b}


def unique(file: str, key: str, names: Iterable[str]) -> None:
    """SpecError if a name is listed twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SpecError(file, key, f"'{name}' is listed twice")
        seen.add(name)
