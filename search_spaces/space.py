"""Which numbers are open for which levels, and how a partial choice becomes a complete point."""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, Config, Setting
from search_spaces.factor import Range, unknown
from search_spaces.regularizers import DecayKind, WeightDecay


def framework_levels() -> dict[str, str]:
    """Factor -> the level a PyTorch user gets without choosing."""
    return {name: factor.framework_default for name, factor in FACTORS.items()}


def textbook_levels(depth: int) -> dict[str, str]:
    """Factor -> the textbook's level for `depth` hidden layers; the first where it says 'A or B'."""
    return {name: factor.textbook(depth)[0] for name, factor in FACTORS.items()}


def open_ranges(levels: Mapping[str, str]) -> dict[str, Range]:
    """Number name -> range, for the ranges that `levels` open, in catalogue order.

    The weight_decay factor decides over the number `weight_decay`: `none` and `l1` close the optimizer's
    own and `decoupled` or `l2` replace it. Without a weight_decay level the optimizer's own stays open.

    Args:
        levels: factor -> level; factors may be missing.

    Raises:
        ValueError: an unknown factor or level.
    """
    _check_levels(levels)
    ranges: dict[str, Range] = {}
    for name, factor in FACTORS.items():
        if name in levels:
            for span in factor.level(levels[name]).ranges:
                ranges.setdefault(span.name, span)
    if "weight_decay" in levels and "optimizer" in levels and decay_kind(levels) in ("none", "l1"):
        ranges.pop("weight_decay", None)
    return ranges


def decay_kind(levels: Mapping[str, str]) -> DecayKind:
    """Which weight decay the trainer applies for these levels of `weight_decay` and `optimizer`."""
    chosen: WeightDecay = FACTORS["weight_decay"].level(levels["weight_decay"]).build
    if chosen.kind != "optimizer":
        return chosen.kind
    optimizer = FACTORS["optimizer"].level(levels["optimizer"])
    return "decoupled" if any(span.name == "weight_decay" for span in optimizer.ranges) else "none"


def complete(
    levels: Mapping[str, str],
    numbers: Mapping[str, float] | None = None,
    setting: Setting | None = None,
    base: Mapping[str, str] | None = None,
) -> Config:
    """A valid point: missing levels come from `base`, missing numbers from the library defaults.

    Args:
        levels: factor -> level; factors may be missing.
        numbers: number name -> value, each opened by a level of the point.
        setting: None means the default setting.
        base: factor -> level for what `levels` leaves out; None means the framework's defaults, which
            also fill what `base` leaves out.

    Raises:
        ValueError: an unknown factor, level or number, a number that no level opens, or one outside
            its limits.

    Examples:
        >>> config = complete({"optimizer": "adamw", "activation": "silu"}, {"learning_rate": 0.003})
        >>> config.numbers["learning_rate"], config.numbers["weight_decay"], config.setting.depth
        (0.003, 0.01, 2)
    """
    background = {} if base is None else base
    _check_levels(background)
    _check_levels(levels)
    chosen = {**framework_levels(), **background, **levels}
    spans = open_ranges(chosen)
    values = {} if numbers is None else numbers
    for name in values:
        if name not in spans:
            raise _closed(name, spans)
    filled = {name: span.check(values.get(name, span.default)) for name, span in spans.items()}
    return Config(levels=chosen, numbers=filled, setting=setting or Setting())


LOG_SETTINGS = frozenset(("width", "batch_size", "steps", "train_size"))
"""Settings that are searched by their ratio; depth is searched evenly."""


def setting_range(name: str, low: float, high: float, default: int) -> Range:
    """A whole-numbered setting between `low` and `high`, searched like a number.

    Args:
        name: one of `search_spaces.config.SETTING_LIMITS`.
        low: least value searched.
        high: largest value searched.
        default: the study's own value: trial 0 of every search.

    Raises:
        ValueError: a setting that is no whole number, or limits beyond its own.
    """
    if name not in SETTING_LIMITS:
        raise ValueError(f"setting {name} cannot be searched; a range takes {', '.join(SETTING_LIMITS)}")
    least, most = SETTING_LIMITS[name]
    if low != int(low) or high != int(high):
        raise ValueError(f"setting {name}: [{low:g}, {high:g}] must be whole numbers")
    whole = Range(
        name=name,
        low=float(least),
        high=float(most),
        default=float(default),
        log=name in LOG_SETTINGS,
        whole=True,
        meaning=f"setting {name}",
    )
    return whole.narrowed(float(low), float(high))


def openers(number: str) -> tuple[str, ...]:
    """The levels that open a number, as 'factor=level'; empty for an unknown name."""
    return tuple(
        f"{factor.name}={level.name}"
        for factor in FACTORS.values()
        for level in factor.levels
        if any(span.name == number for span in level.ranges)
    )


def _check_levels(levels: Mapping[str, str]) -> None:
    for name, level in levels.items():
        if name not in FACTORS:
            raise unknown("factor", name, FACTORS)
        FACTORS[name].level(level)


def _closed(name: str, spans: Mapping[str, Range]) -> ValueError:
    """The error for a number that these levels do not open."""
    by = openers(name)
    if not by:
        return unknown("number", name, spans)
    return ValueError(
        f"number '{name}' is not open for these levels: it needs {' or '.join(by)}. Open: {', '.join(spans)}"
    )
