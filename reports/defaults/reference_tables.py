"""What the textbook says, and what the framework does unasked, as tables of defaults: controls for ours.

Nothing in them was measured: their rows have no evaluations, and every export says so.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from reports.defaults.diff import REFERENCES, Reference
from reports.defaults.schema import READING, Defaults, Plan, Recipe, RecommendedLevel, Regret, sealed
from reports.verdicts.validity_scope import BETWEEN, Scope
from search_spaces.catalog import FACTORS
from search_spaces.config import Setting
from search_spaces.factor import unknown
from search_spaces.space import complete, framework_levels, textbook_levels

DEPTHS = {"shallow": 2, "deep": 20}
"""Regime -> hidden layers: those of the study that ships (`guidelines`)."""

NONE = "none"


def reference(name: str) -> Defaults:
    """The table called 'textbook' or 'framework', with every factor of the catalogue in both regimes."""
    if name not in REFERENCES:
        raise unknown("reference", name, REFERENCES)
    which: Reference = "textbook" if name == "textbook" else "framework"
    recipes = tuple(_recipe(which, regime, depth) for regime, depth in DEPTHS.items())
    usual = Setting()
    return sealed(
        Defaults(
            table=name,
            scope=Scope(
                network=usual.network,
                depth=BETWEEN.join(map(str, DEPTHS.values())),
                width=str(usual.width),
                n_train=str(usual.train_size),
                families=0,
                real_families=0,
                hardware=NONE,
                torch=_version("torch"),
                steps=str(usual.steps),
            ),
            plan=Plan(hash=NONE, protocol=NONE, revision=0, profile=NONE),
            versions={"groundrules": _version("groundrules"), "torch": _version("torch")},
            rows=tuple(_row(which, recipe, factor) for recipe in recipes for factor in FACTORS),
            numbers=(),
            recipes=recipes,
            reading=replace(READING, holds_for="nothing was measured"),
        )
    )


def _recipe(which: Reference, regime: str, depth: int) -> Recipe:
    levels = textbook_levels(depth) if which == "textbook" else framework_levels()
    config = complete(levels, setting=Setting(depth=depth))
    return Recipe(
        regime=regime,
        levels=dict(config.levels),
        numbers=dict(config.numbers),
        setting=config.setting,
        chosen_by=dict.fromkeys(sorted(levels), "textbook") if which == "textbook" else {},
        numbers_chosen_by={},
    )


def _row(which: Reference, recipe: Recipe, factor: str) -> RecommendedLevel:
    book = FACTORS[factor].textbook(recipe.setting.depth)
    others = tuple(level for level in book if level != recipe.levels[factor])
    also = f"the textbook names {', '.join(others)} as well" if which == "textbook" and others else ""
    return RecommendedLevel(
        factor=factor,
        regime=recipe.regime,
        recommended=recipe.levels[factor],
        decided_by="fallback",
        textbook=book,
        verdict="insufficient",
        tied_with=(),
        effect=None,
        tasks=(),
        evaluations=0,
        regret_if_wrong=Regret(upper_bound_margins=None, leave_one_task_out=None),
        caveats=tuple(filter(None, (f"the {which}'s level: nothing was measured", also))),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
