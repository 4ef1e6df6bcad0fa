"""Levels of a question that train alike: to ask between them is to ask nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from search_spaces.factor import Range
from studies.comparison.protocol import Chain, ComparisonProtocol
from trainers.config_audit.equivalence import trained
from trainers.effective_values import describe, effective_values
from trainers.tasks.task import Task

End = Literal["default", "low", "high"]
START = ("initializer", "bias", "init_gain")
"""What first parameters depend on."""


def twins(fixed: ComparisonProtocol, chain: Chain, task: Task) -> str:
    """Which levels of a chain's question train alike on its task, and why; '' where all differ.

    They do whatever is searched: where all levels search a number, at its default and at both of its ends;
    where one level searches a number of its own, wherever that is.
    """
    items = len(task.split(fixed.study.root, 0).train)
    levels = fixed.levels_of(chain.factor)
    searched = {level: fixed.searched(chain, level) for level in levels}
    shared = set.intersection(*(set(spans) for spans in searched.values()))
    usual = {level: fixed.config(chain, level) for level in levels}
    starts = {tuple({**one.levels, **one.numbers}.get(name) for name in START) for one in usual.values()}

    def key(level: str, end: End) -> str:
        """Of what is trained; unlike any other where it depends on a number that not all levels search."""
        spans = searched[level]
        base = {} if end == "default" else {name: _at(spans[name], end) for name in shared}
        points = [base]
        for name in set(spans) - shared:
            points += [{**base, name: spans[name].low}, {**base, name: spans[name].high}]
        draws = len(starts) > 1 or any("init_gain" in spans for spans in searched.values())
        keys = {
            trained(fixed.config(chain, level, point), task, items=items, starts=draws) for point in points
        }
        return keys.pop() if len(keys) == 1 else f"level {level}"

    alike = _alike({level: key(level, "default") for level in levels})
    if alike and shared:
        alike = _alike({level: key(level, "low") + key(level, "high") for level in alike})
    if not alike:
        return ""
    cuts = [effective_values(usual[level], items=items) for level in alike]
    own = dict.fromkeys(cut for each in cuts for cut in each if any(cut not in other for other in cuts))
    why = describe({task.name: own})
    names = f"{', '.join(alike[:-1])} and {alike[-1]}"
    note = f"{names} come to the same training (in {chain.regime}, task {task.name})"
    return f"{note}: {'; '.join(why)}" if why else note


def _at(span: Range, end: End) -> float:
    return span.low if end == "low" else span.high


def _alike(keys: Mapping[str, str]) -> tuple[str, ...]:
    """The first levels that share a key; () where none do."""
    groups: dict[str, list[str]] = {}
    for level, key in keys.items():
        groups.setdefault(key, []).append(level)
    return next((tuple(levels) for levels in groups.values() if len(levels) > 1), ())
