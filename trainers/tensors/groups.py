"""Members of a stack that do the same stand side by side, so that one slice of it holds them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config
from search_spaces.optimizers import OPTIMIZER


@dataclass(frozen=True, kw_only=True)
class Group:
    """Neighbours in a stack that share a level."""

    level: str
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Where they are; what it takes of a stack is a view."""
        return slice(self.start, self.stop)


def groups(levels: Sequence[str]) -> tuple[Group, ...]:
    """The runs of equal neighbours, first to last; `levels` has one for each row of a stack."""
    neighbours, start = [], 0
    for level, same in itertools.groupby(levels):
        stop = start + sum(1 for _ in same)
        neighbours.append(Group(level=level, start=start, stop=stop))
        start = stop
    return tuple(neighbours)


def side_by_side(configs: Sequence[Config]) -> list[int]:
    """The places of the members in the order in which a pack trains them.

    Equal activations come together, which act on slices in every layer, and within them equal update rules,
    which act once a step; members that share both stay in the order they came in.
    """
    activations, rules = ACTIVATION.names, OPTIMIZER.names

    def rank(k: int) -> tuple[int, int]:
        levels = configs[k].levels
        return activations.index(levels["activation"]), rules.index(levels["optimizer"])

    return sorted(range(len(configs)), key=rank)
