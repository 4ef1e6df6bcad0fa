"""Defaults as a plain PyTorch file: it runs on its own, with torch alone, and says which row chose each line.

What cannot be written down that way (convolutional and recurrent networks, augmentation, half precision, a
level without a row in `torch_parts`) is refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from reports.exporting import torch_parts as parts
from reports.exporting.saying import plain_text, provenance
from reports.exporting.torch_library import DOORS, FIT, NETWORK, ON_DEMAND, REGIME
from reports.exporting.torch_regime import regime_lines
from reports.recommended import Defaults, Recipe

HEAD = '''"""{title}

{body}

    model = build_model(n_inputs, n_outputs)
    history = fit(model, x_train, y_train, x_validation, y_validation)
    outputs = model(x)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

Array = Any
"""A tensor, or anything torch.as_tensor takes (a NumPy array)."""

DEFAULT_REGIME = {first}
'''

TABLES: Mapping[str, Mapping[str, object]] = {
    "initializer": parts.INITIALIZERS,
    "activation": parts.ACTIVATIONS,
    "normalization": parts.NORMALIZATIONS,
    "input_scaling": parts.SCALINGS,
    "dropout": parts.DROPOUTS,
    "optimizer": parts.OPTIMIZERS,
    "schedule": {**parts.SCHEDULES, **parts.ONE_CYCLES, "performance": ""},
    "augmentation": {"none": ""},
    "weight_constraint": {"none": "", "max_norm": ""},
}
"""Factor -> the levels that can be written; of other factors all can."""


def torch_file(defaults: Defaults) -> str:
    """The file's text; equal for equal defaults.

    Raises:
        ValueError: a regime's recipe has something that cannot be written as plain PyTorch.
    """
    if defaults.scope.own:
        raise ValueError(
            "python: these defaults are those of a task's own network, which only its own file can build; "
            "take its optimizer, schedule and numbers from the yaml, json or markdown export"
        )
    for recipe in defaults.recipes:
        check(recipe)
    names = identifiers([recipe.regime for recipe in defaults.recipes])
    body = "\n".join(
        line for recipe in defaults.recipes for line in regime_lines(defaults, recipe, names[recipe.regime])
    )
    table = "\n".join(
        f"    {json.dumps(recipe.regime)}: {names[recipe.regime].upper()}," for recipe in defaults.recipes
    )
    needed = [
        text for name, text in ON_DEMAND.items() if re.search(rf"\b{re.escape(name)}\(", body) is not None
    ]
    pieces = [
        HEAD.format(
            title=f"Recommended defaults of the study {plain_text(defaults.table)} as plain PyTorch.",
            body="\n".join(provenance(defaults)),
            first=json.dumps(defaults.recipes[0].regime),
        ),
        NETWORK,
        *needed,
        REGIME,
        body,
        f"REGIMES: dict[str, Regime] = {{\n{table}\n}}",
        DOORS,
        FIT,
    ]
    return "\n\n\n".join(piece.strip("\n") for piece in pieces) + "\n"


def check(recipe: Recipe) -> None:
    """ValueError for the first thing of a recipe that has no plain PyTorch here."""
    s = recipe.setting
    refused = [
        (f"network {s.network}", s.network == "mlp", "mlp"),
        (f"precision {s.precision}", s.precision == "float32", "float32"),
    ]
    for factor, table in TABLES.items():
        level = recipe.levels[factor]
        refused.append((f"{factor} {level}", level in table, ", ".join(table)))
    warmed = recipe.levels["warmup"] != "none"
    alone = recipe.levels["schedule"] in ("performance", *parts.ONE_CYCLES)
    refused.append(
        (
            f"warmup {recipe.levels['warmup']} before {recipe.levels['schedule']}",
            not (warmed and alone),
            "none",
        )
    )
    for what, written, allowed in refused:
        if not written:
            raise ValueError(
                f"python: {what} of regime {recipe.regime} cannot be written as a plain PyTorch file. "
                f"Written are: {allowed}"
            )


def identifiers(regimes: list[str]) -> dict[str, str]:
    """Regime -> a Python name, each its own."""
    found: dict[str, str] = {}
    for regime in regimes:
        name = re.sub(r"\W", "_", regime, flags=re.ASCII).lower()
        name = name if name[:1].isalpha() else f"regime_{name}"
        while name in found.values():
            name += "_"
        found[regime] = name
    return found
