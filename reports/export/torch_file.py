"""Defaults as a plain PyTorch file: it runs on its own, with torch alone, and says which row chose each line.

The file is a template (`templates/exported_torch*.jinja`) filled with rows of `torch_parts`. What no line can
stand for is left out and named, with the reason, in the file's first lines and by `left_out`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.defaults.provenance import WIDTH, comment_text, completed, literal, provenance
from reports.defaults.schema import Defaults, Recipe
from reports.export import torch_levels as parts
from reports.export.torch_library import ON_DEMAND
from reports.export.torch_regime import entry_lines, regime_text
from reports.verdicts.validity_scope import BETWEEN
from search_spaces.catalog import FACTORS
from search_spaces.compatibility import notes
from search_spaces.config import Config
from search_spaces.space import complete

TABLES: Mapping[str, object] = {
    "initializer": parts.INITIALIZERS,
    "bias": parts.BIASES,
    "activation": parts.ACTIVATIONS,
    "normalization": parts.NORMALIZATIONS,
    "input_scaling": parts.SCALINGS,
    "augmentation": ("none",),
    "dropout": parts.DROPOUTS,
    "weight_decay": parts.DECAYS,
    "decay_scope": parts.SCOPES,
    "weight_constraint": parts.CONSTRAINTS,
    "label_smoothing": parts.SMOOTHINGS,
    "early_stopping": parts.STOPS,
    "optimizer": parts.OPTIMIZERS,
    "schedule": (*parts.SCHEDULES, *parts.ONE_CYCLES, "performance"),
    "warmup": parts.WARMUPS,
    "clipping": parts.CLIPPINGS,
}
"""Factor -> the levels that can be written, for every factor of the catalogue."""

WRITTEN_NETWORKS = ("mlp",)


def torch_file(defaults: Defaults) -> str:
    """The file's text; equal for equal defaults.

    Raises:
        ValueError: a recipe whose levels, numbers or setting do not go together.
    """
    own = own_network(defaults)
    names = identifiers([recipe.regime for recipe in defaults.recipes])
    written = [written_recipe(recipe, own) for recipe in defaults.recipes]
    template = environment().get_template("exported_torch_regime.py.jinja")
    body = "\n\n\n".join(
        regime_text(template.render, defaults, recipe, names[recipe.regime], own).strip("\n")
        for recipe in written
    )
    used = re.findall(r"\w+", body)
    return (
        environment()
        .get_template("exported_torch.py.jinja")
        .render(
            title=f"{comment_text(defaults.heading)}, as plain PyTorch.",
            body="\n".join(provenance(defaults)),
            left_out=[line for note in left_out(defaults) for line in _wrapped(note)],
            to_know=[line for note in to_know(defaults) for line in _wrapped(note)],
            own_network=own,
            default_regime=literal(defaults.recipes[0].regime),
            parts=[text.strip("\n") for name, text in ON_DEMAND.items() if name in used],
            regimes=body,
            table=[
                (literal(r.regime), "\n".join(entry_lines(defaults, r, names[r.regime], own)))
                for r in written
            ],
        )
    )


def left_out(defaults: Defaults) -> tuple[str, ...]:
    """What a recipe has and the file leaves out, a line each with the reason."""
    own = own_network(defaults)
    notes: list[str] = []
    if own:
        notes.append(
            f"build_model: the study's network ({defaults.scope.network}) is not written out here; "
            "`fit` trains a module of your own, by the rest of the recipe"
        )
    for recipe in defaults.recipes:
        config = completed(recipe)
        for factor, level in config.levels.items():
            if level not in TABLES[factor]:  # type: ignore[operator]
                notes.append(f"{factor} {level} of regime {recipe.regime}: {_why(factor, level)}")
        for what, why in _combinations(config, own):
            notes.append(f"{what} of regime {recipe.regime}: {why}")
    return tuple(map(comment_text, notes))


def to_know(defaults: Defaults) -> tuple[str, ...]:
    """Combinations that do less than they seem to, a line each."""
    return tuple(
        comment_text(f"regime {recipe.regime}: {note}")
        for recipe in defaults.recipes
        for note in notes(completed(recipe))
    )


def written_recipe(recipe: Recipe, own: bool) -> Recipe:
    """The recipe with the framework's default for every level that is left out."""
    config = completed(recipe)
    levels = {
        factor: level if level in TABLES[factor] else FACTORS[factor].framework_default  # type: ignore[operator]
        for factor, level in config.levels.items()
    }
    for what, _ in _combinations(config, own):
        factor = what.split()[0]
        if factor in levels:
            levels[factor] = FACTORS[factor].framework_default
    numbers = {n: v for n, v in config.numbers.items() if n in complete(levels).numbers}
    filled = complete(levels, numbers, setting=config.setting)
    return Recipe(
        regime=recipe.regime,
        levels=dict(filled.levels),
        numbers=dict(filled.numbers),
        setting=filled.setting,
        chosen_by={n: who for n, who in recipe.chosen_by.items() if levels.get(n) == config.levels.get(n)},
        numbers_chosen_by=recipe.numbers_chosen_by,
        compared=recipe.compared,
    )


def own_network(defaults: Defaults) -> bool:
    """Whether the study's networks are not those that `build_model` could write."""
    named = [words.split()[-1] for words in defaults.scope.network.split(BETWEEN) if words.split()]
    used = {recipe.setting.network for recipe in defaults.recipes}
    return any(name not in WRITTEN_NETWORKS for name in (*named, *used))


def identifiers(regimes: list[str]) -> dict[str, str]:
    """Regime -> what the names of its functions end with (`model_for_...`), each its own."""
    names: dict[str, str] = {}
    for regime in regimes:
        name = re.sub(r"\W", "_", regime, flags=re.ASCII).lower()
        name = name if name[:1].isalpha() else f"regime_{name}"
        while name in names.values():
            name += "_"
        names[regime] = name
    return names


def _why(factor: str, level: str) -> str:
    return parts.LEFT_OUT.get((factor, level), "no line of plain PyTorch stands for it yet")


def _combinations(config: Config, own: bool) -> list[tuple[str, str]]:
    """(what, why) of levels that can be written alone, but not here."""
    levels, notes = config.levels, []
    if config.setting.precision != "float32":
        notes.append((f"precision {config.setting.precision}", "the file trains in float32"))
    if levels["warmup"] != "none" and levels["schedule"] in ("performance", *parts.ONE_CYCLES):
        why = f"torch's scheduler for {levels['schedule']} cannot be put behind a warm-up"
        notes.append((f"warmup {levels['warmup']}", why))
    if own:
        if levels["input_scaling"] == "batch_norm":
            notes.append(("input_scaling batch_norm", "a first layer is your own network's to have"))
        if levels["weight_constraint"] == "symmetric":
            notes.append(("weight_constraint symmetric", "how weights are read is your own network's"))
    return notes


def _wrapped(note: str) -> list[str]:
    return textwrap.wrap(f"{note}.", WIDTH, initial_indent="- ", subsequent_indent="  ")


@cache
def environment() -> Environment:
    """Templates of Python text: nothing is escaped, what goes in is a literal or has been made plain."""
    return Environment(
        loader=PackageLoader("reports"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
