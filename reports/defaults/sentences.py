"""Rows, effects and whole recipes of a defaults file in sentences that every export shares."""

from __future__ import annotations

from reports.defaults.schema import Defaults, LevelEffect, RecommendedLevel
from reports.verdicts.external_check import whole_recipe
from reports.verdicts.sentences import counted, listed


def describe_verdict(row: RecommendedLevel, against: str | None = None) -> str:
    """A row's verdict and one effect in words.

    Args:
        row: of a defaults file.
        against: the level whose effect is quoted, where the file has it; None: the row's headline.
    """
    if not row.evaluations:
        return "not measured"
    text = judged(row)
    pair = row.effect_of(against) if against is not None else None
    if pair is not None:
        return f"{text}; {describe_pair(row, pair)}"
    if row.effect is not None:
        low, high = row.effect.interval
        text += (
            f"; {row.effect.against} against {row.recommended}: {row.effect.margins:+.2f} margins "
            f"[{low:+.2f}, {high:+.2f}] ({families(row.effect.tasks)})"
        )
    return text


def describe_pair(row: RecommendedLevel, effect: LevelEffect) -> str:
    """One level against the recommended one: 'zeros against relu: +4.00 margins [...] (8 ...)'."""
    return f"{effect.level} against {row.recommended}: {describe_effect(effect)} ({families(effect.tasks)})"


def families(count: int) -> str:
    """'8 task families'."""
    return counted(count, "task family")


def describe_row(row: RecommendedLevel) -> str:
    """A row in a sentence: what is recommended, on what verdict, and each other level against it."""
    text = f"{row.recommended} ({judged(row)}"
    text += f"; the textbook: {' or '.join(row.textbook)})" if row.textbook else ")"
    if row.tied_with:
        text += f", as good within a margin: {', '.join(row.tied_with)}"
    if row.effects:
        listed_effects = ", ".join(f"{each.level} {describe_effect(each)}" for each in row.effects)
        text += f"; error against it: {listed_effects}; {families(max(each.tasks for each in row.effects))}"
    elif row.effect is not None:
        low, high = row.effect.interval
        gain = f"{row.effect.margins:+.2f} margins [{low:+.2f}, {high:+.2f}]"
        text += f"; error against it: {row.effect.against} {gain}"
    if row.least_error is not None and row.mean_error is not None:
        text += f"; least mean test error: {row.least_error} ({row.mean_error[row.least_error]:.4g})"
    if row.margin_points is not None:
        text += f"; a margin is {describe_margin(row.margin_points)} points here"
    return text


def describe_margin(ends: tuple[float, float]) -> str:
    """'0.5 to 2.1', or one number where both are the same."""
    low, high = (f"{end:.2g}" for end in ends)
    return low if low == high else f"{low} to {high}"


def judged(row: RecommendedLevel) -> str:
    """'confirmed, decided by data'."""
    how = "nothing proved, a fallback" if row.decided_by == "fallback" else "decided by data"
    return f"{row.verdict}, {'decided by cost order' if row.decided_by == 'cost_order' else how}"


def describe_effect(effect: LevelEffect) -> str:
    """'+3.09 margins [+1.28, +4.90]'."""
    ends = (
        " (no interval)"
        if effect.interval is None
        else f" [{effect.interval[0]:+.2f}, {effect.interval[1]:+.2f}]"
    )
    return f"{effect.margins:+.2f} margins{ends}"


def whole_recipes(defaults: Defaults) -> list[str]:
    """What is known of each regime's recipe as a whole, a sentence each; one where nothing is."""
    if not defaults.measured:
        return ["Nothing of it was measured."]
    known = {
        recipe.regime: recipe.compared
        or whole_recipe(recipe.regime, [row.caveats for row in defaults.rows if row.regime == recipe.regime])
        for recipe in defaults.recipes
    }
    sentences = [
        f"The rows were judged one at a time; then, {result}." for result in known.values() if result
    ]
    bare = [regime for regime, result in known.items() if not result]
    if bare:
        where = f" of {listed(bare)}" if sentences else ""
        sentences.append(f"The rows were judged one at a time: nobody compared a recipe{where} as a whole.")
    return sentences
