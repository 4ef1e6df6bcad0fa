"""One thing read back of a pack, beside what was asked.

Shape letters: K members, B items, F features, P flat parameters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from search_spaces.config import Config
from trainers.loop.feed import Feed
from trainers.loop.updates import Updates
from trainers.loop.validation_log import Patience
from trainers.member import Member
from trainers.networks import network_of_rows
from trainers.networks.network import Network, Noise
from trainers.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class BuiltPack:
    """A built pack before its first step."""

    members: Sequence[Member]
    task: Task
    network: Network
    params_KP: Tensor
    buffers_KP: Tensor
    numbers: Mapping[str, Tensor]
    """What the members' activations and norms are given."""
    updates: Updates
    losses: Callable[[Tensor, Tensor], Tensor]
    """(outputs [K, B, C], targets [K, B]) -> what each member is trained on, [K]."""
    patience: Patience
    """Who stops when."""
    feed: Feed
    """All items."""
    x_KBF: Tensor
    """The first step's batch."""
    noise: Noise
    """What the first step drops."""
    gradients: Callable[[], tuple[Tensor, Tensor]] | None
    """The first step's gradients [K, P], as training makes them and by autograd; None: they are its own."""
    autocast: Callable[[], AbstractContextManager[object]]

    def alone(self, k: int) -> BuiltPack:
        """Member k's row, for what all members of a structure have in common."""
        return dataclasses.replace(
            self,
            members=self.members[k : k + 1],
            network=network_of_rows(self.network, [k]),
            params_KP=self.params_KP[k : k + 1],
            buffers_KP=self.buffers_KP[k : k + 1],
            numbers={name: values[k : k + 1] for name, values in self.numbers.items()},
            x_KBF=self.x_KBF[k : k + 1],
        )

    @property
    def configs(self) -> list[Config]:
        return [member.config for member in self.members]


SAMPLED = 4
"""Members of a pack that stand for all where looking at every one would take too long."""


def sampled(count: int) -> list[int]:
    """A few of so many members, the first and the last among them."""
    return sorted({*range(0, count, max(1, -(-count // (SAMPLED - 1)))), count - 1}) if count else []


@dataclass(frozen=True, kw_only=True)
class AuditedProperty:
    """One property of every member: asked and found, [K] each; equal unless they are numbers."""

    key: str
    asked: Sequence[Any]
    found: Sequence[Any]
    near: float = 1e-3
    """Relative difference that numbers may have."""
    least: float = 1e-9
    """Absolute difference that numbers may have."""

    def wrong(self) -> int | None:
        """The first member that does not have what it asked for."""
        for k, (asked, found) in enumerate(zip(self.asked, self.found, strict=True)):
            if isinstance(asked, float):
                if not math.isclose(asked, found, rel_tol=self.near, abs_tol=self.least):
                    return k
            elif asked != found:
                return k
        return None
