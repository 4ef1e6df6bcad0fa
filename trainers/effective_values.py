"""What a setting or number amounts to where the data, or the length of a training, leave less of it.

Nothing here is refused: a batch of 256 on 107 items is a whole pass. But who reads the label should be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from search_spaces.config import Config, Setting
from search_spaces.dropout import GRID
from search_spaces.overrides import spelled

SHOWN = 4
"""Tasks that one sentence names."""


@dataclass(frozen=True, kw_only=True)
class EffectiveValue:
    """One setting or number of a configuration that is not what it says."""

    name: str
    stated: float
    means: str
    """In words: what it comes to,"""
    amount: str = ""
    """and how much that is on one task; '' where it is the same on all."""


def used(setting: Setting, *, items: int) -> Setting:
    """The setting on a task with so many training items: it uses no more, and a batch holds no more."""
    size = min(setting.train_size, items)
    return replace(setting, train_size=size, batch_size=min(setting.batch_size, size))


def effective_values(config: Config, *, items: int) -> tuple[EffectiveValue, ...]:
    """What of a configuration is not what it says on a task with so many training items."""
    stated, real = config.setting, used(config.setting, items=items)
    effective = []
    if real.train_size < stated.train_size:
        effective.append(
            EffectiveValue(
                name="train_size",
                stated=stated.train_size,
                means="means all training items",
                amount=str(real.train_size),
            )
        )
    if real.batch_size < stated.batch_size:
        effective.append(
            EffectiveValue(
                name="batch_size",
                stated=stated.batch_size,
                means="means all training items at once",
                amount=str(real.batch_size),
            )
        )
    for name in ("warmup_share", "warmup_fraction", "cooldown_share"):
        share = config.numbers.get(name, 0.0)
        if share > 0 and round(share * stated.steps) == 0:
            effective.append(EffectiveValue(name=name, stated=share, means=f"is 0 of {stated.steps} steps"))
    for name, act in (
        ("plateau_patience", "the rate is never cut"),
        ("stop_patience", "nothing stops early"),
    ):
        if name in config.numbers and not waits(config, name):
            looks = f"{stated.evaluations} looks at validation"
            effective.append(
                EffectiveValue(name=name, stated=config.numbers[name], means=f"outlasts {looks}: {act}")
            )
    rate = config.numbers.get("dropout_rate", 0.0)
    if rate > 0 and round(rate * GRID) == 0:
        effective.append(EffectiveValue(name="dropout_rate", stated=rate, means="drops nothing"))
    return tuple(effective)


def waits(config: Config, patience: str) -> bool:
    """Whether so patient a rule can act on a training: at a look before the last, after which nothing comes.

    The first look sets the best; the rule acts at the first that comes more than `patience` looks later.
    """
    return int(config.numbers[patience]) + 2 < config.setting.evaluations


def describe(on_tasks: Mapping[str, Iterable[EffectiveValue]]) -> tuple[str, ...]:
    """One sentence for each setting or number that is not what it says, with what it is on which task."""
    effective: dict[tuple[str, float, str], dict[str, str]] = {}
    for task, cut in on_tasks.items():
        for one in cut:
            effective.setdefault((one.name, one.stated, one.means), {})[task] = one.amount
    return tuple(
        f"{name} = {spelled(stated)} {means}{_on(tasks)}"
        for (name, stated, means), tasks in effective.items()
    )


def _on(tasks: Mapping[str, str]) -> str:
    named = [f"{amount} on {task}" for task, amount in tasks.items() if amount]
    more = f" and on {len(named) - SHOWN} more tasks" if len(named) > SHOWN else ""
    return f": {', '.join(named[:SHOWN])}{more}" if named else ""
