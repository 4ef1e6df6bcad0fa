"""What the words of a study file mean: a name is a factor, a number or a setting, and takes its values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES, Setting
from search_spaces.factor import rounded, unknown
from search_spaces.overrides import Kind, Overrides

NUMBERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        span.name for factor in FACTORS.values() for level in factor.levels for span in level.ranges
    )
)
"""Every number that some level opens."""

LARGEST_WHOLE = 2**63


def read(data: Mapping[str, Any]) -> Overrides:
    """The change that a mapping of names and values states.

    Where a factor and a number share a name (weight_decay), text is a level, a number is the number, and
    a list `[level, value]` states both. A number is checked against its limits only where it is open:
    levels differ in them.

    Raises:
        ValueError: an unknown name, level or setting, or a value of the wrong kind.
    """
    change = Overrides()
    for name, value in data.items():
        change = _one(name, value).over(change)
    return change


def kinds(name: str) -> tuple[Kind, ...]:
    """What a name can be.

    Raises:
        ValueError: the name is unknown; the nearest is named.
    """
    possible: list[Kind] = []
    if name in FACTORS:
        possible.append("factor")
    if name in NUMBERS:
        possible.append("number")
    if name in SETTING_NAMES:
        possible.append("setting")
    if not possible:
        raise unknown("factor, number or setting", name, {*FACTORS, *NUMBERS, *SETTING_NAMES})
    return tuple(possible)


def is_number(value: object) -> bool:
    """A finite number of YAML or JSON that a float can hold: true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < LARGEST_WHOLE if isinstance(value, int) else math.isfinite(value)


def _one(name: str, value: Any) -> Overrides:
    can_be = kinds(name)
    if "setting" in can_be:
        # The largest number of steps, so that only the value itself can be wrong.
        Setting(**{"steps": SETTING_LIMITS["steps"][1], "evaluations": 1, name: value})
        return Overrides(setting={name: value})
    if isinstance(value, list) and len(value) == 2 and can_be == ("factor", "number"):
        level, number = value
        if isinstance(level, str) and is_number(number):
            return _one(name, level).over(_one(name, number))
    if "factor" in can_be and isinstance(value, str):
        return Overrides(levels={name: FACTORS[name].level(value).name})
    if "number" in can_be and is_number(value):
        return Overrides(numbers={name: rounded(float(value))})
    takes = {
        ("factor",): "the name of a level",
        ("number",): "a number",
        ("factor", "number"): "the name of a level, a number, or [level, number]",
    }[can_be]
    text = repr(value)
    raise ValueError(f"{name} takes {takes}, not {text if len(text) <= 80 else f'{text[:77]}...'}")
