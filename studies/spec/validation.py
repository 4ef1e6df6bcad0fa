"""What a study file may say, beyond its shape: the catalogue's names, and what the keys say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reports.statistics.compare import FEW_FAMILIES
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES
from search_spaces.factor import Range, unknown
from search_spaces.overrides import Kind, Overrides
from search_spaces.space import complete, open_ranges, openers, setting_range
from studies.spec import control_arms
from studies.spec.claims import parse_claims
from studies.spec.design_points import DesignPoint, design_points
from studies.spec.errors import SpecError, unique
from studies.spec.limits import check_counts, check_sizes
from studies.spec.questions import change_of
from studies.spec.sections import RangeSpec
from studies.spec.study_spec import StudySpec

IN_REPORTS = ("index.html",)
"""Names of files beside the studies' folders of reports."""


def check(spec: StudySpec) -> None:
    """SpecError for the first thing in `spec` that the catalogue does not know or that contradicts."""
    file = spec.file
    check_name(file, spec.study)
    if spec.extends and spec.study in (spec.extends.study, spec.extends.root):
        raise SpecError(file, "extends.study", f"'{spec.study}' cannot extend itself; give it another name")
    names: set[str] = set()
    for i, asked in enumerate(spec.understood):
        if asked.name in names:
            raise SpecError(file, f"questions[{i}].factor", f"'{asked.name}' is asked twice; join its levels")
        names.add(asked.name)
    _check_fixed(spec)
    for factor, levels in spec.background.items():
        _levels(file, "background", f"background.{factor}", factor, levels)
    _check_backgrounds(spec)
    unique(file, "tasks", spec.tasks)
    _check_settings(spec)
    _check_owners(spec)
    _check_budget(spec)
    reached = tuple(design_points(spec))
    _check_numbers(spec, reached)
    _check_nuisance(spec, reached)
    control_arms.check(spec)
    parse_claims(spec)  # reading them is what checks them


def check_name(file: str, study: str) -> None:
    """SpecError for a study's name that cannot be the name of a folder of its own."""
    if not study.strip("."):
        raise SpecError(file, "study", f"'{study}' must contain more than dots")
    if study.lower() in IN_REPORTS:
        raise SpecError(file, "study", f"'{study}' is a file of the workspace's reports")


def _levels(file: str, factor_key: str, level_key: str, factor: str, levels: Iterable[str]) -> None:
    if factor not in FACTORS:
        raise SpecError(file, factor_key, str(unknown("factor", factor, FACTORS)))
    for level in levels:
        try:
            FACTORS[factor].level(level)
        except ValueError as error:
            raise SpecError(file, level_key, str(error)) from None
    unique(file, level_key, levels)


def _check_backgrounds(spec: StudySpec) -> None:
    """A regime's own background replaces a list that all regimes have."""
    for regime, choices in spec.background_in.items():
        key = f"background_in.{regime}"
        if regime not in spec.regimes:
            raise SpecError(spec.file, key, str(unknown("regime", regime, spec.regimes)))
        for factor, levels in choices.items():
            if factor not in spec.background:
                rule = unknown("background factor", factor, spec.background)
                raise SpecError(spec.file, key, f"{rule} (what stands in background may differ in a regime)")
            _levels(spec.file, key, f"{key}.{factor}", factor, levels)


def _check_fixed(spec: StudySpec) -> None:
    change_of(spec.fixed, file=spec.file, key="fixed", only=("factor", "number"))
    asked = {(a.kind, a.name) for a in spec.understood}
    for kind, name in spec.stated.parts:
        if (kind, name) in asked:
            raise SpecError(
                spec.file, f"fixed.{name}", f"a {kind} that a question asks about cannot be fixed"
            )
        if kind == "factor" and name in spec.background:
            raise SpecError(spec.file, f"fixed.{name}", "a factor cannot be both fixed and in the background")


def _check_settings(spec: StudySpec) -> None:
    for name in spec.setting:
        if name not in SETTING_NAMES:
            raise SpecError(spec.file, "setting", str(unknown("setting", name, SETTING_NAMES)))
    for regime, changes in spec.regimes.items():
        stated = change_of(changes, file=spec.file, key=f"regimes.{regime}").setting
        try:
            spec.settings(regime)
        except ValueError as error:
            culprit = next((name for name in stated if f"setting {name} " in str(error)), None)
            key = f"regimes.{regime}" if culprit or not spec.setting else "setting"
            raise SpecError(spec.file, key, str(error)) from None


def _check_owners(spec: StudySpec) -> None:
    """What a regime changes is changed nowhere else, and what a question varies is tuned nowhere."""
    asked: dict[tuple[Kind, str], str] = {}
    for question in spec.understood:
        for part in (part for change in question.changes.values() for part in change.parts):
            asked.setdefault(part, question.name)
    tuned: set[tuple[Kind, str]] = {
        ("setting" if name in SETTING_LIMITS else "number", name) for name in spec.nuisance
    }
    for regime, changes in spec.regimes.items():
        for kind, name in sorted(change_of(changes, file=spec.file, key=f"regimes.{regime}").parts):
            key = f"regimes.{regime}.{name}"
            if (kind, name) in asked:
                by = asked[kind, name]
                raise SpecError(spec.file, key, f"the question on {by} changes this {kind} too")
            if (kind, name) in spec.stated.parts:
                raise SpecError(spec.file, key, f"a {kind} that a regime changes cannot be fixed")
            if kind == "factor" and name in spec.background:
                raise SpecError(spec.file, key, "a factor cannot be both in a regime and in the background")
            if (kind, name) in tuned:
                raise SpecError(spec.file, key, f"a {kind} that is tuned (nuisance) cannot be in a regime")
    for question in spec.understood:
        # Levels of a combination may state a number that the other levels tune.
        for kind, name in asked:
            single = question.kind != "combination" or kind == "setting"
            if asked[kind, name] == question.name and single and (kind, name) in tuned:
                raise SpecError(
                    spec.file, f"nuisance.{name}", f"a {kind} that a question asks about cannot be tuned too"
                )
    for kind, name in tuned & spec.stated.parts:
        raise SpecError(spec.file, f"nuisance.{name}", f"a {kind} that is fixed cannot be tuned too")


def _check_budget(spec: StudySpec) -> None:
    budget = spec.effective_budget
    if budget.promoted > budget.trials:
        rule = f"{budget.promoted} cannot be more than trials = {budget.trials}"
        raise SpecError(spec.file, "budget.promoted", rule)
    looks = spec.budget.looks or ()
    if looks and (list(looks) != sorted({*looks}) or min(budget.looks) < FEW_FAMILIES):
        rule = (
            f"{', '.join(map(str, looks))} must increase and, like families = {spec.families}, be "
            f"{FEW_FAMILIES} or more (fewer families say nothing about tasks in general)"
        )
        raise SpecError(spec.file, "budget.looks", rule)
    if spec.families in looks:
        rule = f"leave {spec.families} out: there is a look at families = {spec.families} anyway"
        raise SpecError(spec.file, "budget.looks", rule)
    check_counts(spec)
    check_sizes(spec)


def _check_numbers(spec: StudySpec, reached: Iterable[DesignPoint]) -> None:
    """Every stated number is open somewhere, a question's own everywhere, and within its limits there."""
    questions = {asked.name: (i, asked) for i, asked in enumerate(spec.understood)}
    unopened: dict[tuple[str, str], str] = {
        (regime, name): f"regimes.{regime}.{name}"
        for regime in spec.regimes
        for name in spec.change(regime).numbers
    }
    unopened |= {("", name): f"fixed.{name}" for name in spec.stated.numbers}
    for place in reached:
        i, asked = questions[place.factor]
        for name in place.point.numbers:
            unopened.pop((place.regime, name), None)
            unopened.pop(("", name), None)
        change = asked.changes[place.level]
        key = f"questions[{i}].levels"
        try:
            _possible(spec, place.point)
        except ValueError as error:
            own = set(change.numbers) | set(change.setting)
            culprit = next((name for name in sorted(own) if name in str(error)), None)
            rule = f"{error} ({place})"
            if culprit is None:
                stated = spec.change(place.regime).numbers
                named = next((name for name in (*stated, *spec.stated.numbers) if name in str(error)), "")
                key = f"regimes.{place.regime}.{named}" if named in stated else f"fixed.{named}"
            raise SpecError(spec.file, key, rule) from None
    for (_, name), key in unopened.items():
        rule = f"number '{name}' needs {' or '.join(openers(name))}, which no level of this study is"
        raise SpecError(spec.file, key, rule)


def _possible(spec: StudySpec, point: Overrides) -> None:
    """ValueError where a stated number is closed or outside its limits, or settings contradict."""
    complete(point.levels, point.numbers, setting=spec.settings_of(point))


def _check_nuisance(spec: StudySpec, reached: Iterable[DesignPoint]) -> None:
    """Every nuisance number is opened by a level of this study, and searched within its limits."""
    settings = {name: wish for name, wish in spec.nuisance.items() if name in SETTING_NAMES}
    for name, wish in settings.items():
        _check_searched_setting(spec, name, wish)
    opened: dict[str, list[tuple[DesignPoint, Range]]] = {}
    for place in reached:
        for name, span in open_ranges(place.point.levels).items():
            opened.setdefault(name, []).append((place, span))
    for name, wish in spec.nuisance.items():
        if name in settings:
            continue
        if name not in opened:
            rule = str(unknown("nuisance number", name, opened))
            raise SpecError(spec.file, "nuisance", f"{rule} (numbers that the study's levels open)")
        for place, span in opened[name] if wish else ():
            try:
                span.narrowed(wish.low, wish.high) if wish else None
            except ValueError as error:
                raise SpecError(spec.file, f"nuisance.{name}", f"{error} of {place}") from None


def _check_searched_setting(spec: StudySpec, name: str, wish: RangeSpec | None) -> None:
    key = f"nuisance.{name}"
    if wish is None:
        raise SpecError(spec.file, key, f"{name} is a setting: give its limits as {{low: ..., high: ...}}")
    for regime in spec.regimes:
        usual: Mapping[str, Any] = vars(spec.settings(regime))
        try:
            setting_range(name, wish.low, wish.high, usual[name])
            for value in (wish.low, wish.high):
                spec.settings_of(Overrides(setting={**usual, name: int(value)}))
        except ValueError as error:
            raise SpecError(spec.file, key, str(error)) from None
