"""What exported code says of its lines: which verdict chose them, and where the file comes from."""

from __future__ import annotations

import textwrap

from reports.recommended import Defaults, Recipe, Row
from search_spaces.catalog import FACTORS

WIDTH = 100


def plain_text(text: str) -> str:
    """One line that can stand in a comment and in a docstring of generated code."""
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")


def verdict_said(row: Row) -> str:
    """A row's verdict and effect in words: 'confirmed, decided by data; relu is worse by ...'."""
    said = f"{row.verdict}, decided by {row.decided_by.replace('_', ' ')}"
    if row.effect is not None:
        low, high = row.effect.interval
        families = "family" if row.effect.tasks == 1 else "families"
        said += (
            f"; {row.effect.against} has an error {row.effect.margins:+.2f} margins "
            f"[{low:+.2f}, {high:+.2f}] higher ({row.effect.tasks} task {families})"
        )
    return said


def reason(defaults: Defaults, recipe: Recipe, name: str) -> str:
    """Why a factor, number or setting is what it is in a recipe."""
    by = recipe.chosen_by.get(name, "")
    if by.startswith("row "):
        factor, _, regime = by.removeprefix("row ").partition("@")
        row = defaults.row(factor, regime)
        tuned = [n for n in defaults.numbers if (n.name, n.factor, n.regime) == (name, factor, regime)]
        if tuned:
            low, high = tuned[0].range
            loss = tuned[0].loss_if_untuned_margins
            untuned = "" if loss is None else f"; at the library's default {loss:+.2f} margins"
            return f"tuned for the row {factor}@{regime}, mostly between {low:g} and {high:g}{untuned}"
        return f"row {factor}@{regime}: {verdict_said(row)}" if row else by
    said = {
        "fixed": "held fixed in the study, not compared",
        "background": "the study's first background, not compared",
        "regime": "belongs to the regime, not compared",
    }
    return said.get(by, "the framework's default, not compared")


def noted(defaults: Defaults, recipe: Recipe, name: str, indent: int = 4) -> list[str]:
    """The comment above a line: what it is and which verdict chose it; none for a setting nobody asked."""
    opened: list[str] = []
    if name in recipe.levels:
        value = recipe.levels[name]
        spans = FACTORS[name].level(value).ranges
        opened = [span.name for span in spans if span.name in recipe.numbers]
    elif name in recipe.chosen_by:
        value = str(getattr(recipe.setting, name))
    else:
        return []
    mark = " " * indent + "# "
    said = [f"{name} = {value}: {reason(defaults, recipe, name)}"]
    said += [
        f"{number} = {recipe.numbers[number]:g}: {reason(defaults, recipe, number)}"
        for number in opened
        if number in recipe.chosen_by
    ]
    return [
        line
        for text in said
        for line in textwrap.wrap(plain_text(text), WIDTH, initial_indent=mark, subsequent_indent=f"{mark}  ")
    ]


def provenance(defaults: Defaults) -> list[str]:
    """Scope, plan and versions, and how far the recipe has been tested."""
    versions = ", ".join(f"{name} {version}" for name, version in defaults.versions.items())
    sentences = [
        f"Scope: {defaults.scope.sentence()}; {defaults.reading.holds_for}.",
        f"Plan {defaults.plan.hash}, revision {defaults.plan.revision}, profile {defaults.plan.profile}; "
        f"defaults {defaults.hash}. Versions: {versions}.",
        "The rows were judged one at a time: nobody compared a recipe as a whole.",
    ]
    return [line for sentence in sentences for line in textwrap.wrap(plain_text(sentence), WIDTH)]
