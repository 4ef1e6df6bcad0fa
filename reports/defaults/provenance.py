"""What exported code says of its lines: which verdict chose them, and where the file comes from."""

from __future__ import annotations

import textwrap

from reports.defaults.schema import Defaults, Recipe, TunedSetting
from reports.defaults.sentences import describe_row, describe_verdict, whole_recipes
from reports.defaults.textbook_layout import caveats
from search_spaces.catalog import FACTORS
from search_spaces.config import Config
from search_spaces.overrides import Kind
from search_spaces.space import complete

WIDTH = 100


def comment_text(text: str) -> str:
    """One line that can stand in a comment and in a docstring of generated code."""
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")


def reason(defaults: Defaults, recipe: Recipe, kind: Kind, name: str) -> str:
    """Why a factor, number or setting is what it is in a recipe."""
    by = _chosen_by(defaults, recipe, kind, name)
    if by.startswith("row "):
        factor, _, regime = by.removeprefix("row ").partition("@")
        row = defaults.row(factor, regime)
        tuned = None if kind == "factor" else tuned_number(defaults, recipe, name)
        if tuned is not None:
            low, high = tuned.range
            loss = tuned.loss_if_untuned_margins
            untuned = "" if loss is None else f"; left at the library's default it costs {loss:+.2f} margins"
            return f"tuned for the row {factor}@{regime}, mostly between {low:g} and {high:g}{untuned}"
        return f"row {factor}@{regime}: {describe_verdict(row)}" if row else by
    reasons = {
        "fixed": "held fixed in the study, not compared",
        "background": "the study's first background, not compared",
        "regime": "belongs to the regime, not compared",
        UNKNOWN: "the defaults file does not say who chose it",
        "textbook": "the textbook's, not measured",
    }
    return reasons.get(by, "the framework's default, not compared")


UNKNOWN = "unknown"
"""An older file has one place for a factor and a number of the same name."""


def _chosen_by(defaults: Defaults, recipe: Recipe, kind: Kind, name: str) -> str:
    shared = name in recipe.levels and name in recipe.numbers
    if recipe.numbers_chosen_by is not None or not shared:
        known = recipe.chosen_by if kind != "number" else recipe.numbers_chosen_by or recipe.chosen_by
        return known.get(name, "")
    # One entry for both, of which the number's stood last.
    by, tuned = recipe.chosen_by.get(name, ""), _tuned_by(defaults, recipe, name)
    of_number = bool(tuned) and by == tuned and not by.startswith(f"row {name}@")
    if kind == "number":
        return tuned if tuned else UNKNOWN
    return UNKNOWN if of_number else by


def _tuned_by(defaults: Defaults, recipe: Recipe, name: str) -> str:
    fitting = _fitting(defaults, recipe, name)
    return next((f"row {n.factor}@{n.regime}" for n in fitting if n.value == recipe.numbers.get(name)), "")


def tuned_number(defaults: Defaults, recipe: Recipe, name: str) -> TunedSetting | None:
    """The entry that a number or setting of a recipe was taken from: of its regime, optimizer and row."""
    by = (recipe.numbers_chosen_by or recipe.chosen_by).get(name) or recipe.chosen_by.get(name, "")
    fitting = _fitting(defaults, recipe, name)
    return next((n for n in fitting if f"row {n.factor}@{n.regime}" == by), None)


def _fitting(defaults: Defaults, recipe: Recipe, name: str) -> list[TunedSetting]:
    place = (name, recipe.regime, recipe.levels["optimizer"])
    return [n for n in defaults.numbers if (n.name, n.regime, n.optimizer) == place]


def noted(defaults: Defaults, recipe: Recipe, name: str, indent: int = 4) -> list[str]:
    """The comment above a line: what it is and which verdict chose it; none for a setting of no question."""
    opened: list[str] = []
    kind: Kind
    if name in recipe.levels:
        value, kind = recipe.levels[name], "factor"
        spans = FACTORS[name].level(value).ranges
        opened = [span.name for span in spans if span.name in recipe.numbers]
    elif name in recipe.chosen_by:
        value, kind = str(getattr(recipe.setting, name)), "setting"
    else:
        return []
    notes = [f"{name} = {value}: {reason(defaults, recipe, kind, name)}"]
    notes += [
        f"{number} = {recipe.numbers[number]:g}: {reason(defaults, recipe, 'number', number)}"
        for number in opened
    ]
    mark = " " * indent + "# "
    return [
        line
        for text in notes
        for line in textwrap.wrap(
            comment_text(text), WIDTH, initial_indent=mark, subsequent_indent=f"{mark}  "
        )
    ]


def provenance(defaults: Defaults) -> list[str]:
    """Scope, plan and versions, every row with its effects, how those read, caveats, whole recipes."""
    versions = ", ".join(f"{name} {version}" for name, version in defaults.versions.items())
    reading = defaults.reading
    sentences = [
        f"Scope: {defaults.scope.sentence()}; {reading.holds_for}."
        if defaults.measured
        else f"Scope: {defaults.scope.sentence()}.",
        f"Plan {defaults.plan.hash}, revision {defaults.plan.revision}, profile {defaults.plan.profile}; "
        f"defaults {defaults.hash}. Versions: {versions}."
        if defaults.measured
        else f"Versions: {versions}.",
        *whole_recipes(defaults),
    ]
    notes = [f"{row.name}: {describe_row(row)}" for row in defaults.rows if row.evaluations]
    notes += [f"Caveat, {whose}: {note}" for whose, note in caveats(defaults)]
    read = (reading.margins, reading.effects) if defaults.measured else ()
    notes += [f"{meaning[:1].upper()}{meaning[1:]}" for meaning in read if meaning]
    lines = [line for sentence in sentences for line in textwrap.wrap(comment_text(sentence), WIDTH)]
    lines += [""] if notes else []
    for note in notes:
        lines += textwrap.wrap(comment_text(f"{note}."), WIDTH, initial_indent="- ", subsequent_indent="  ")
    return lines


def completed(recipe: Recipe) -> Config:
    """The recipe as a point of today's catalogue; ValueError naming the regime where it is none."""
    try:
        return complete(recipe.levels, recipe.numbers, setting=recipe.setting)
    except ValueError as error:
        raise ValueError(f"recipe of regime {comment_text(recipe.regime)}: {error}") from None


def literal(text: str) -> str:
    """Text as a Python literal of ASCII, in double quotes; JSON's escapes are not always Python's."""
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
