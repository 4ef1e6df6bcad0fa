"""Which members train together: packs whose membership is a pure function of the plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.config import Config, digest
from studies.structure_cache import structures
from trainers.diagnostics.names import Recorded, Switch
from trainers.evaluation import LOOKED_INTO, Phase
from trainers.loop.structure import activation_bytes, estimated_flops
from trainers.member import Member
from trainers.tasks.task import Task

PACK_SECONDS = 90.0
"""A pack is sized to take at most so long by what is declared below, so that a kill loses little. Packs of 50
that were declared as 75 s took 7 (2 x 100 units, 320 steps); in packs of 34 a member took 10 % longer."""

ACTIVATION_BYTES = 256_000_000
"""What the activations of a pack's members may take together, so that a few workers fit into memory."""

FLOPS_PER_SECOND: Mapping[str, float] = {"cpu": 2e9, "cuda": 2e11, "mps": 2e10}
"""Declared speed of small stacks, by device kind. Not measured: packs must be the same whenever a
study is started, or two runs of it would differ in the last bits. The ledger keeps the one used."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Members of one structure that are trained as one stack and committed whole, or not at all.

    Activations and update rules are no part of a structure, unless `trainers.loop.structure` says so.
    """

    id: str
    phase: Phase
    factor: str
    """The scientific factor ('' in the pilot)."""
    task: str
    regime: str
    members: tuple[Member, ...]


def halves(pack: Pack) -> tuple[Pack, ...]:
    """The two halves of a pack that is too large, or holds a member that brings it down.

    They depend on the pack alone, and so do their ids. Members trained in them agree with those of the whole
    pack within rounding, not to the bit.
    """
    assert len(pack.members) > 1, "one member cannot be split"
    return tuple(_pack(part) for part in equal_parts(pack.members, -(-len(pack.members) // 2)))


def probes(pack: Pack) -> tuple[Pack, ...]:
    """Its first and its last member alone, and the rest: whether anybody of the pack can be trained."""
    assert len(pack.members) > 1, "one member cannot be split"
    first, *rest, last = pack.members
    return tuple(_pack(part) for part in ([first], [last], rest) if part)


def recorded(pack: Pack, asked: Recorded) -> Switch:
    """What is recorded inside a pack's members: in the pilot never anything, which nobody looks into.

    Diagnostics take 5 to 10 % of a pack's time, most of small packs.
    """
    if asked == "evidence":
        return "ends" if pack.phase in LOOKED_INTO else "none"
    return "none" if pack.phase == "pilot" else asked


def packs(
    members: Sequence[Member],
    *,
    positions: Mapping[str, int],
    structure: Callable[[Config], str],
    limit: Callable[[Config], int],
) -> tuple[Pack, ...]:
    """Splits the members of one stage of one chain into packs.

    The result depends on the set of members alone: not on their order, and not on what is already
    trained. Level names do not matter either, only where the levels stand in their question.

    Args:
        members: of one (phase, factor, task, regime).
        positions: level -> its place in the question (or the recipe's in the pilot).
        structure: config -> its structure key; only equal keys may share a pack.
        limit: config -> how many such members one pack may hold, at least 1; the least of a pack's counts.

    Returns:
        Packs in the order of their first members, each in the order (block, level position, index),
        the sizes within one structure differing by at most 1.
    """
    ordered = sorted(members, key=lambda m: (m.slot.block, positions[m.slot.level], m.slot.index))
    groups: dict[str, list[Member]] = {}
    for member in ordered:
        groups.setdefault(structure(member.config), []).append(member)
    return tuple(
        _pack(part)
        for group in groups.values()
        for part in equal_parts(group, min(limit(config) for config in _kinds(group)))
    )


def longest_first(stage_packs: Iterable[Pack], task: Task) -> list[Pack]:
    """The order to hand packs out in: who begins a long one last keeps the others waiting."""

    def work(pack: Pack) -> float:
        return len(pack.members) * max(estimated_flops(config, task) for config in _kinds(pack.members))

    return sorted(stage_packs, key=lambda pack: -work(pack))


def missing_packs(
    members: Sequence[Member],
    task: Task,
    *,
    positions: Mapping[str, int],
    pack_size: int,
    flops_per_second: float,
    there: Callable[[Member], bool],
) -> list[Pack]:
    """The packs of one stage but for those that the ledger holds whole, longest first.

    Of a pack that was split, and holds some of its members, those that are missing.

    Args:
        members: all of the stage, trained ones included.
        task: that they train on.
        positions: level -> where it stands in its question.
        pack_size: members of a pack, at most.
        flops_per_second: the declared speed.
        there: whether the ledger holds a member.
    """
    laid_out = packs(
        members,
        positions=positions,
        structure=structures(task),
        limit=lambda config: pack_limit(config, task, pack_size, flops_per_second),
    )
    missing = [(pack, [m for m in pack.members if not there(m)]) for pack in laid_out]
    return longest_first(
        [pack if len(left) == len(pack.members) else _pack(left) for pack, left in missing if left], task
    )


def expected_seconds(pack: Pack, task: Task, flops_per_second: float) -> float:
    """How long a pack should take at most, by its estimated work."""
    return sum(estimated_flops(member.config, task) for member in pack.members) / flops_per_second


def pack_limit(config: Config, task: Task, pack_size: int, flops_per_second: float) -> int:
    """How many such members a pack may hold: the study's size, or what time and memory allow.

    Time is about a minute, memory `ACTIVATION_BYTES`; one member may take more of either.
    """
    affordable = PACK_SECONDS * flops_per_second / estimated_flops(config, task)
    fitting = ACTIVATION_BYTES // activation_bytes(config, task)
    return max(1, min(pack_size, int(affordable), fitting))


def equal_parts(members: Sequence[Member], size: int) -> list[Sequence[Member]]:
    """Consecutive parts of at most `size`, as few as possible and as equal as possible."""
    count = -(-len(members) // size)
    bounds = [len(members) * part // count for part in range(count + 1)]
    return [members[low:high] for low, high in itertools.pairwise(bounds)]


def _kinds(members: Iterable[Member]) -> list[Config]:
    """The config of one member for each activation and update rule; in all else that costs they are alike."""
    by_kind = {(m.config.levels["activation"], m.config.levels["optimizer"]): m.config for m in members}
    return list(by_kind.values())


def _pack(members: Sequence[Member]) -> Pack:
    slot = members[0].slot
    return Pack(
        id=digest([member.slot.id for member in members]),
        phase=slot.phase,
        factor=slot.factor,
        task=slot.task,
        regime=slot.regime,
        members=tuple(members),
    )
