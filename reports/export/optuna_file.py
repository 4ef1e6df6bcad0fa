"""Defaults as a Python file for Optuna: what to fix, where to start, and the ranges worth searching."""

from __future__ import annotations

from typing import Any

from reports.defaults.provenance import comment_text, completed, literal, provenance, reason, tuned_number
from reports.defaults.schema import Defaults, Recipe, RecommendedLevel
from search_spaces.config import SETTING_NAMES
from search_spaces.factor import rounded
from search_spaces.space import LOG_SETTINGS, open_ranges

TEXT = '''"""{title}

{body}

    study = optuna.create_study()
    enqueue(study)                                     # the recommended values are tried first
    study.optimize(lambda trial: loss(**suggest(trial)), n_trials=20)
"""

from __future__ import annotations

from typing import Any

import optuna

RECIPES: dict[str, dict[str, dict[str, Any]]] = {recipes}
"""Regime -> fixed: levels, numbers and settings nobody needs to search; enqueued: the recommended values;
ranges: where tuning found them (middle half over tasks and blocks)."""

WHY: dict[str, dict[str, str]] = {why}
"""Regime -> what chose each level, number and setting."""

EFFECTS: dict[str, dict[str, dict[str, Any]]] = {effects}
"""Row -> each other level's test error minus the recommended one's, in margins: positive is worse."""

DEFAULT_REGIME = {first}


def recipe_of(regime: str) -> dict[str, dict[str, Any]]:
    """The recipe of that name; ValueError naming all."""
    if regime not in RECIPES:
        raise ValueError(f"unknown regime {{regime!r}}; known: {{', '.join(RECIPES)}}")
    return RECIPES[regime]


def enqueue(study: optuna.Study, regime: str = DEFAULT_REGIME) -> None:
    """The recommended values become the study's next trial; once, however often it is called."""
    study.enqueue_trial(recipe_of(regime)["enqueued"], skip_if_exists=True)


def suggest(trial: optuna.Trial, regime: str = DEFAULT_REGIME) -> dict[str, Any]:
    """Everything that one training needs: what is fixed, and the searched values of this trial."""
    recipe = recipe_of(regime)
    found = dict(recipe["fixed"])
    for name, span in recipe["ranges"].items():
        draw = trial.suggest_int if span["whole"] else trial.suggest_float
        found[name] = draw(name, span["low"], span["high"], log=span["log"])
    return found


def distributions(regime: str = DEFAULT_REGIME) -> dict[str, optuna.distributions.BaseDistribution]:
    """The ranges as Optuna's distributions, for ask-and-tell."""
    return {{
        name: (
            optuna.distributions.IntDistribution(span["low"], span["high"], log=span["log"])
            if span["whole"]
            else optuna.distributions.FloatDistribution(span["low"], span["high"], log=span["log"])
        )
        for name, span in recipe_of(regime)["ranges"].items()
    }}
'''


def optuna_file(defaults: Defaults) -> str:
    """The file's text; equal for equal defaults."""
    recipes = {recipe.regime: _plain(defaults, recipe) for recipe in defaults.recipes}
    return TEXT.format(
        title=f"{comment_text(defaults.heading)}, to be searched with Optuna.",
        body="\n".join(provenance(defaults)),
        recipes=_literal(recipes),
        why=_literal({recipe.regime: _why(defaults, recipe) for recipe in defaults.recipes}),
        effects=_literal({row.name: _effects(row) for row in defaults.rows}),
        first=literal(defaults.recipes[0].regime),
    )


def _why(defaults: Defaults, recipe: Recipe) -> dict[str, str]:
    """Name, as in what `suggest` gives -> why it is what it is."""
    shared = set(recipe.levels) & set(recipe.numbers)
    reasons = {
        f"{name}_kind" if name in shared else name: reason(defaults, recipe, "factor", name)
        for name in recipe.levels
    }
    reasons |= {name: reason(defaults, recipe, "number", name) for name in recipe.numbers}
    return reasons | {
        name: reason(defaults, recipe, "setting", name) for name in SETTING_NAMES if name in recipe.chosen_by
    }


def _effects(row: RecommendedLevel) -> dict[str, Any]:
    """Level -> its effect; of an older file only the rival it quotes."""
    if row.effects is None and row.effect is not None:
        gain = row.effect
        return {gain.against: {"margins": gain.margins, "interval": gain.interval, "points": gain.points}}
    return {
        each.level: {"margins": each.margins, "interval": each.interval, "points": each.points}
        for each in row.effects or ()
    }


def _plain(defaults: Defaults, recipe: Recipe) -> dict[str, dict[str, Any]]:
    spans = open_ranges(completed(recipe).levels)
    values = {**recipe.numbers, **recipe.setting.plain()}
    ranges: dict[str, Any] = {}
    for number in defaults.numbers:
        name = number.name
        if number is not tuned_number(defaults, recipe, name):
            continue
        whole = name in SETTING_NAMES
        low, high = map(round, number.range) if whole else number.range
        ranges[name] = {
            # Rounded to 4 digits, a value may have come to lie just outside of its quartiles.
            "low": min(low, values[name]),
            "high": max(high, values[name]),
            "whole": whole,
            "log": name in LOG_SETTINGS if whole else spans[name].log,
        }
    # A factor and the number it opens may share a name (weight_decay): the number is what a trial needs.
    fixed = {**recipe.levels, **recipe.setting.plain(), **{n: rounded(v) for n, v in recipe.numbers.items()}}
    shared = {f"{name}_kind": recipe.levels[name] for name in recipe.levels if name in recipe.numbers}
    return {
        "fixed": {name: value for name, value in {**fixed, **shared}.items() if name not in ranges},
        "enqueued": {name: values[name] for name in ranges},
        "ranges": ranges,
    }


def _literal(value: Any, indent: str = "") -> str:
    """A Python literal with one key a line."""
    if not isinstance(value, dict):
        return literal(value) if isinstance(value, str) else repr(value)
    if not any(isinstance(item, dict) for item in value.values()) and len(value) <= 4:
        return "{" + ", ".join(f"{literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    deeper = indent + "    "
    lines = [f"{deeper}{literal(key)}: {_literal(item, deeper)}," for key, item in value.items()]
    return "\n".join(["{", *lines, indent + "}"])
