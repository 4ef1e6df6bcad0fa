"""Packs: every member once, equal structure inside, as few and as equal as the limit allows."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config, Setting
from search_spaces.optimizers import OPTIMIZER
from search_spaces.space import complete
from studies.comparison.protocol import Chain
from studies.packing import ACTIVATION_BYTES, PACK_SECONDS, Pack, equal_parts, pack_limit, packs, recorded
from tests.studies.planted import BOOK, planned, tiny
from trainers.diagnostics.names import Recorded
from trainers.evaluation import PHASES, Slot
from trainers.loop.structure import activation_bytes, estimated_flops, structure_key
from trainers.member import Member
from trainers.tasks.task import Task

LEVELS = ("nesterov", "adamw", "adam")
POSITIONS = {level: i for i, level in enumerate(LEVELS)}
NORMS = {"nesterov": "none", "adamw": "none", "adam": "batch_norm"}
"""Two rules share a structure, and the third has one of its own."""


def members(blocks: int = 3, trials: int = 5) -> list[Member]:
    return [
        Member(
            slot=Slot(
                study="s",
                factor="optimizer",
                task="stripes",
                regime="deep",
                block=block,
                level=level,
                phase="retune",
                index=index,
            ),
            config=complete({"optimizer": level, "normalization": NORMS[level]}),
            seed_index=index,
        )
        for block in range(blocks)
        for level in LEVELS
        for index in range(trials)
    ]


def key(config: Config) -> str:
    return structure_key(config, BOOK["stripes"]())


@pytest.mark.parametrize("size", [1, 4, 7, 15, 64])
def test_packs_hold_every_member_once_with_equal_structure_and_within_the_limit(size: int) -> None:
    found = packs(members(), positions=POSITIONS, structure=key, limit=lambda _: size)
    slots = [m.slot for pack in found for m in pack.members]
    assert len(set(slots)) == len(slots) == len(members())
    assert len({key(m.config) for m in members()}) == 2
    for pack in found:
        assert len({key(m.config) for m in pack.members}) == 1
        assert len(pack.members) <= size
    sizes: dict[str, list[int]] = {}
    for pack in found:
        sizes.setdefault(key(pack.members[0].config), []).append(len(pack.members))
    for group in sizes.values():
        assert len(group) == -(-sum(group) // size)
        assert max(group) - min(group) <= 1


def test_packs_do_not_depend_on_the_order_in_which_members_come() -> None:
    ordered = packs(members(), positions=POSITIONS, structure=key, limit=lambda _: 4)
    mixed = members()
    random.Random(1).shuffle(mixed)
    assert packs(mixed, positions=POSITIONS, structure=key, limit=lambda _: 4) == ordered
    assert len({pack.id for pack in ordered}) == len(ordered)


def test_members_stand_by_block_then_place_of_the_level_then_index() -> None:
    same = members()
    (pack,) = packs(same, positions=POSITIONS, structure=lambda _: "one", limit=lambda _: 100)
    assert pack.members == tuple(same)


def test_the_least_limit_of_a_packs_members_counts() -> None:
    limits = {"nesterov": 30, "adamw": 4, "adam": 30}
    found = packs(
        members(), positions=POSITIONS, structure=key, limit=lambda config: limits[config.levels["optimizer"]]
    )
    assert {len(pack.members) for pack in found if pack.members[0].slot.level != "adam"} <= {3, 4}
    assert [len(pack.members) for pack in found if pack.members[0].slot.level == "adam"] == [15]


def test_work_and_memory_of_members_that_share_a_structure_are_alike() -> None:
    task = BOOK["stripes"]()
    configs = [
        complete({"activation": activation, "optimizer": optimizer})
        for activation in ACTIVATION.names
        for optimizer in OPTIMIZER.names
    ]
    found = {(key(c), estimated_flops(c, task), activation_bytes(c, task)) for c in configs}
    assert len(found) == len({key(c) for c in configs}) == 5


def test_equal_parts_are_consecutive() -> None:
    whole = members()[:10]
    parts = equal_parts(whole, 4)
    assert [len(part) for part in parts] == [3, 3, 4]
    assert [m for part in parts for m in part] == whole


def test_a_pack_is_estimated_at_most_a_minute_and_a_half_but_holds_one_member_at_least() -> None:
    task = BOOK["stripes"]()
    config = planned(tiny()).config(Chain(factor="initializer", task="stripes", regime="deep"), "he_normal")
    each = estimated_flops(config, task)
    assert pack_limit(config, task, 64, flops_per_second=1e12) == 64
    assert pack_limit(config, task, 64, flops_per_second=10 * each / PACK_SECONDS) == 10
    assert pack_limit(config, task, 64, flops_per_second=each / 1000) == 1


@pytest.mark.parametrize(
    ("asked", "phases"),
    [
        ("evidence", {"confirm", "external", "search"}),
        ("ends", {"retune", "promote", "confirm", "external", "search"}),
        ("none", set()),
    ],
)
def test_inside_is_recorded_where_somebody_looks(asked: Recorded, phases: set[str]) -> None:
    def switch(phase: str) -> str:
        made = Pack(id="p", phase=phase, factor="", task="t", regime="r", members=())  # type: ignore[arg-type]
        return recorded(made, asked)

    assert {phase for phase in PHASES if switch(phase) == "ends"} == phases


def test_a_pack_of_large_activations_holds_fewer_members() -> None:
    images = Task.from_arrays(
        np.random.default_rng(0).normal(size=(80, 28, 28, 1)),
        np.arange(80) % 2,
        kind="classification",
        name="images",
        shape=(28, 28, 1),
    )
    setting = Setting(network="cnn", depth=3, width=16, steps=1, evaluations=1)
    small, large = (complete({}, setting=replace(setting, batch_size=size)) for size in (32, 64))
    each = activation_bytes(small, images)
    limit = pack_limit(small, images, 64, flops_per_second=1e15)
    assert limit * each <= ACTIVATION_BYTES < (limit + 1) * each
    assert 1 < pack_limit(large, images, 64, flops_per_second=1e15) < limit < 64
