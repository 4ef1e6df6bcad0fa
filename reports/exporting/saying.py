"""What exported code says of its lines: which verdict chose them, and where the file comes from."""

from __future__ import annotations

import textwrap

from reports.exporting.layout import caveats
from reports.external import whole_recipe
from reports.recommended import Defaults, LevelEffect, Number, Recipe, Row
from reports.wording import listed
from search_spaces.catalog import FACTORS
from search_spaces.change import Kind

WIDTH = 100


def plain_text(text: str) -> str:
    """One line that can stand in a comment and in a docstring of generated code."""
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")


def verdict_said(row: Row, against: str | None = None) -> str:
    """A row's verdict and one effect in words.

    Args:
        row: of a defaults file.
        against: the level whose effect is quoted, where the file has it; None: the row's headline.
    """
    if not row.evaluations:
        return "not measured"
    said = f"{row.verdict}, decided by {row.decided_by.replace('_', ' ')}"
    pair = row.effect_of(against) if against is not None else None
    if pair is not None:
        return f"{said}; {pair_said(row, pair)}"
    if row.effect is not None:
        low, high = row.effect.interval
        said += (
            f"; {row.effect.against} has an error {row.effect.margins:+.2f} margins "
            f"[{low:+.2f}, {high:+.2f}] higher ({families(row.effect.tasks)})"
        )
    return said


def pair_said(row: Row, effect: LevelEffect) -> str:
    """One level against the recommended one: 'zeros against he_normal: +4.00 margins [...] (8 ...)'."""
    return f"{effect.level} against {row.recommended}: {effect_said(effect)} ({families(effect.tasks)})"


def families(count: int) -> str:
    """'8 task families'."""
    return f"{count} task {'family' if count == 1 else 'families'}"


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
        return f"row {factor}@{regime}: {verdict_said(row)}" if row else by
    said = {
        "fixed": "held fixed in the study, not compared",
        "background": "the study's first background, not compared",
        "regime": "belongs to the regime, not compared",
        UNKNOWN: "the defaults file does not say who chose it",
        "textbook": "the textbook's, not measured",
    }
    return said.get(by, "the framework's default, not compared")


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
    found = _fitting(defaults, recipe, name)
    return next((f"row {n.factor}@{n.regime}" for n in found if n.value == recipe.numbers.get(name)), "")


def tuned_number(defaults: Defaults, recipe: Recipe, name: str) -> Number | None:
    """The entry that a number or setting of a recipe was taken from: of its regime, optimizer and row."""
    by = (recipe.numbers_chosen_by or recipe.chosen_by).get(name) or recipe.chosen_by.get(name, "")
    found = _fitting(defaults, recipe, name)
    return next((n for n in found if f"row {n.factor}@{n.regime}" == by), None)


def _fitting(defaults: Defaults, recipe: Recipe, name: str) -> list[Number]:
    place = (name, recipe.regime, recipe.levels["optimizer"])
    return [n for n in defaults.numbers if (n.name, n.regime, n.optimizer) == place]


def noted(defaults: Defaults, recipe: Recipe, name: str, indent: int = 4) -> list[str]:
    """The comment above a line: what it is and which verdict chose it; none for a setting nobody asked."""
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
    said = [f"{name} = {value}: {reason(defaults, recipe, kind, name)}"]
    said += [
        f"{number} = {recipe.numbers[number]:g}: {reason(defaults, recipe, 'number', number)}"
        for number in opened
    ]
    mark = " " * indent + "# "
    return [
        line
        for text in said
        for line in textwrap.wrap(plain_text(text), WIDTH, initial_indent=mark, subsequent_indent=f"{mark}  ")
    ]


def provenance(defaults: Defaults) -> list[str]:
    """Scope, plan and versions, every row with its effects, how those read, caveats, whole recipes."""
    versions = ", ".join(f"{name} {version}" for name, version in defaults.versions.items())
    reading = defaults.reading
    sentences = [
        f"Scope: {defaults.scope.sentence()}; {reading.holds_for}.",
        f"Plan {defaults.plan.hash}, revision {defaults.plan.revision}, profile {defaults.plan.profile}; "
        f"defaults {defaults.hash}. Versions: {versions}.",
        *whole_recipes(defaults),
    ]
    notes = [f"{row.name}: {row_said(row)}" for row in defaults.rows if row.evaluations]
    notes += [f"Caveat, {whose}: {note}" for whose, note in caveats(defaults)]
    notes += [f"A margin: {reading.margins}"] if reading.margins else []
    notes += [f"An effect: {reading.effects}"] if reading.effects else []
    lines = [line for sentence in sentences for line in textwrap.wrap(plain_text(sentence), WIDTH)]
    lines += [""] if notes else []
    for note in notes:
        lines += textwrap.wrap(plain_text(f"{note}."), WIDTH, initial_indent="- ", subsequent_indent="  ")
    return lines


def row_said(row: Row) -> str:
    """A row in a sentence: what is recommended, on what verdict, and each other level against it."""
    said = f"{row.recommended} ({row.verdict}, decided by {row.decided_by.replace('_', ' ')}"
    said += f"; the textbook: {' or '.join(row.textbook)})" if row.textbook else ")"
    if row.tied_with:
        said += f", as good within a margin: {', '.join(row.tied_with)}"
    if row.effects:
        listed_effects = ", ".join(f"{each.level} {effect_said(each)}" for each in row.effects)
        said += f"; error against it: {listed_effects}; {families(max(each.tasks for each in row.effects))}"
    elif row.effect is not None:
        low, high = row.effect.interval
        gain = f"{row.effect.margins:+.2f} margins [{low:+.2f}, {high:+.2f}]"
        said += f"; error against it: {row.effect.against} {gain}"
    if row.least_error is not None and row.mean_error is not None:
        said += f"; least mean test error: {row.least_error} ({row.mean_error[row.least_error]:.4g})"
    if row.margin_points is not None:
        said += f"; a margin is {margin_said(row.margin_points)} points here"
    return said


def margin_said(ends: tuple[float, float]) -> str:
    """'0.5 to 2.1', or one number where both are the same."""
    low, high = (f"{end:.2g}" for end in ends)
    return low if low == high else f"{low} to {high}"


def effect_said(effect: LevelEffect) -> str:
    """'+3.09 margins [+1.28, +4.90]'."""
    ends = "" if effect.interval is None else f" [{effect.interval[0]:+.2f}, {effect.interval[1]:+.2f}]"
    return f"{effect.margins:+.2f} margins{ends}"


def whole_recipes(defaults: Defaults) -> list[str]:
    """What is known of each regime's recipe as a whole, a sentence each; one where nothing is."""
    if not any(row.evaluations for row in defaults.rows):
        return ["Nothing of it was measured."]
    known = {
        recipe.regime: recipe.compared
        or whole_recipe(recipe.regime, [row.caveats for row in defaults.rows if row.regime == recipe.regime])
        for recipe in defaults.recipes
    }
    said = [f"The rows were judged one at a time; then, {found}." for found in known.values() if found]
    bare = [regime for regime, found in known.items() if not found]
    if bare:
        where = f" of {listed(bare)}" if said else ""
        said.append(f"The rows were judged one at a time: nobody compared a recipe{where} as a whole.")
    return said


def literal(text: str) -> str:
    """Text as a Python literal of ASCII, in double quotes; JSON's escapes are not always Python's."""
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
