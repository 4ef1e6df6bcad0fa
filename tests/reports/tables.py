"""Defaults made by hand: one row, one regime, and a recipe of any levels and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.defaults.schema import (
    READING,
    Defaults,
    Gain,
    Plan,
    Recipe,
    RecommendedLevel,
    Regret,
    TunedSetting,
    sealed,
)
from reports.verdicts.validity_scope import Scope
from search_spaces.config import Setting
from search_spaces.space import complete


def row(**changes: Any) -> RecommendedLevel:
    """A confirmed row of initializers, with some fields replaced."""
    return RecommendedLevel(
        **{
            "factor": "initializer",
            "regime": "deep",
            "recommended": "he_normal",
            "decided_by": "data",
            "textbook": ("he_normal", "he_uniform"),
            "verdict": "confirmed",
            "tied_with": (),
            "effect": Gain(
                against="glorot_normal",
                margins=2.0,
                interval=(1.5, 2.5),
                points=3.0,
                tasks=8,
                blocks=4,
                seeds=2,
            ),
            "tasks": ("digits", "wine"),
            "evaluations": 192,
            "regret_if_wrong": Regret(upper_bound_margins=-0.5, leave_one_task_out=0.1),
            "caveats": (),
            **changes,
        }
    )


def number(**changes: Any) -> TunedSetting:
    """A tuned learning rate of the row of initializers, with some fields replaced."""
    return TunedSetting(
        **{
            "name": "learning_rate",
            "regime": "deep",
            "factor": "initializer",
            "level": "he_normal",
            "optimizer": "adamw",
            "value": 0.002,
            "range": (0.001, 0.004),
            "cells": 32,
            "tunability_margins": 1.5,
            **changes,
        }
    )


def recipe(
    regime: str = "deep",
    *,
    levels: Mapping[str, str] | None = None,
    numbers: Mapping[str, float] | None = None,
    setting: Setting | None = None,
    chosen_by: Mapping[str, str] | None = None,
) -> Recipe:
    """The framework's defaults with some levels, numbers and settings replaced."""
    config = complete(levels or {}, numbers, setting=setting)
    return Recipe(
        regime=regime,
        levels=dict(config.levels),
        numbers=dict(config.numbers),
        setting=config.setting,
        chosen_by=dict(chosen_by or {}),
    )


def table(*rows: RecommendedLevel, **changes: Any) -> Defaults:
    """A sealed table of these rows, with a recipe for each regime unless others are given."""
    rows = rows or (row(),)
    regimes = dict.fromkeys(each.regime for each in rows)
    return sealed(
        Defaults(
            **{
                "table": "planted",
                "scope": Scope(
                    network="mlp",
                    depth="2 | 20",
                    width="32",
                    n_train="600",
                    families=8,
                    real_families=4,
                    hardware="cpu",
                    torch="2.14.1",
                ),
                "plan": Plan(hash="3f2c", protocol="77aa", revision=1, profile="quick"),
                "versions": {"torch": "2.14.1"},
                "rows": rows,
                "numbers": (),
                "recipes": tuple(recipe(regime) for regime in regimes),
                "reading": READING,
                **changes,
            }
        )
    )
