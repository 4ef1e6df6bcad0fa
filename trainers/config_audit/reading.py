"""A built pack, and one measured property of its members.

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
    """Numbers of the members' activations and norms."""
    updates: Updates
    losses: Callable[[Tensor, Tensor], Tensor]
    """(outputs [K, B, C], targets [K, B]) -> training loss of each member [K]."""
    patience: Patience
    """Early stopping."""
    feed: Feed
    """The training and held-out items."""
    x_KBF: Tensor
    """The first step's batch."""
    noise: Noise
    """The draws of the first step."""
    gradients: Callable[[], tuple[Tensor, Tensor]] | None
    """The first step's gradients [K, P], by the manual pass and by autograd; None: autograd trains."""
    autocast: Callable[[], AbstractContextManager[object]]

    def alone(self, k: int) -> BuiltPack:
        """A pack of member k alone, for properties that all members of one structure share."""
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
"""Members that are measured where measuring all of them would take too long."""


def sampled(count: int) -> list[int]:
    """At most about `SAMPLED` of `count` members, the first and the last included."""
    return sorted({*range(0, count, max(1, -(-count // (SAMPLED - 1)))), count - 1}) if count else []


@dataclass(frozen=True, kw_only=True)
class AuditedProperty:
    """One property of every member, expected and measured, [K] each; floats may differ by a tolerance."""

    key: str
    expected: Sequence[Any]
    measured: Sequence[Any]
    rtol: float = 1e-3
    """Relative tolerance of floats."""
    atol: float = 1e-9
    """Absolute tolerance of floats."""

    def wrong(self) -> int | None:
        """The first member whose measured value differs from the expected one; None: all agree."""
        for k, (expected, measured) in enumerate(zip(self.expected, self.measured, strict=True)):
            if isinstance(expected, float):
                if not math.isclose(expected, measured, rel_tol=self.rtol, abs_tol=self.atol):
                    return k
            elif expected != measured:
                return k
        return None
