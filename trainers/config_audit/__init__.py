"""What was really applied, read back from a built pack and held against what was asked.

A factor that is set but not wired would make a study compare a level with itself, and nobody would see
it. So before the first step every pack is asked what it does: how many layers answer, what its blocks do
to a grid of numbers, what a dry update does to a row of zeros. Nothing here changes the pack.

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


def effective(wiring: BuiltPack) -> list[dict[str, Any]]:
    """What each member of the pack is really trained with, as plain data."""
    found = list(readings(wiring))
    return [
        {reading.key: reading.found[k] for reading in found if reading.found[k] is not None}
        for k in range(len(wiring.members))
    ]


def check(wiring: BuiltPack) -> None:
    """ValueError naming the member, the key, what was asked and what was found, where they differ."""
    for reading in readings(wiring):
        k = reading.wrong()
        if k is None:
            continue
        slot = wiring.members[k].slot
        raise ValueError(
            f"task '{slot.task}', {slot.level} ({slot.phase} {slot.index}, block {slot.block}): "
            f"{reading.key} was asked to be {reading.asked[k]}, but what was built applies {reading.found[k]}"
        )


@torch.no_grad()
def readings(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """Everything that can be read back of this pack."""
    yield from item_readings(wiring)
    yield from network_readings(wiring)
    yield from training_readings(wiring)
