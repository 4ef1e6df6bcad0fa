"""The configuration that a built pack really applies, measured and compared with the one that was requested.

A factor that is set but not connected would make a study compare a level with itself, and nobody would see
it. So before its first step every pack is measured: how many layers it has, what its blocks do to a grid of
numbers, what one update does to a row of zeros. Nothing here changes the pack.

Shape letters: K members.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from trainers.config_audit.data import item_readings
from trainers.config_audit.network import network_readings
from trainers.config_audit.optimization import training_readings
from trainers.config_audit.reading import AuditedProperty, BuiltPack

__all__ = ["AuditedProperty", "BuiltPack", "check", "effective", "readings"]


def effective(built: BuiltPack) -> list[dict[str, Any]]:
    """The measured configuration of each member: key -> value, as JSON-ready data."""
    measured = list(readings(built))
    return [
        {reading.key: reading.measured[k] for reading in measured if reading.measured[k] is not None}
        for k in range(len(built.members))
    ]


def check(built: BuiltPack) -> None:
    """Compare every measured property with the configuration.

    Raises:
        ValueError: one differs; it names the member, the property and both values.
    """
    for reading in readings(built):
        k = reading.wrong()
        if k is None:
            continue
        slot = built.members[k].slot
        raise ValueError(
            f"task '{slot.task}', {slot.level} ({slot.phase} {slot.index}, block {slot.block}): "
            f"{reading.key} was asked to be {reading.expected[k]}, "
            f"but what was built applies {reading.measured[k]}"
        )


@torch.no_grad()
def readings(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Every property that can be measured of this pack."""
    yield from item_readings(built)
    yield from network_readings(built)
    yield from training_readings(built)
