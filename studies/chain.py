"""One chain: retune every level with the same budget, promote the best, confirm the chosen.

A chain has no state of its own. What is to be trained next is a function of the protocol and of what
has been trained; a resume calls the same function.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from search_spaces.config import Config
from studies.plan import Chain, Protocol
from studies.search import ADAPTIVE, GENERATION, Search
from trainers.evaluation import Arm, Evaluation, Phase, Slot
from trainers.member import Member

Done = Mapping[str, Evaluation]
"""Slot id -> its evaluation, of one chain."""


def next_members(protocol: Protocol, chain: Chain, done: Done) -> list[Member]:
    """Every member of the chain's current stage, trained ones included; empty when the chain is complete.

    The whole stage is returned so that packs do not depend on what is already trained. A stage is a
    generation of retune members (one generation unless the sampler is adaptive), then the promoted
    candidates, then both arms of the confirmation. Each needs all results of the one before.
    """
    first = _retune(protocol, chain, done)
    if first:
        return first
    chosen: dict[tuple[int, str], Config] = {}
    promotion: list[Member] = []
    for block, level in cells(protocol, chain):
        candidates = promoted(protocol, chain, block, level, done)
        members = _promote(protocol, chain, block, level, candidates)
        promotion += members
        if all(m.slot.id in done for m in members):
            chosen[block, level] = choose(candidates, [done[m.slot.id] for m in members])
    if any(m.slot.id not in done for m in promotion):
        return promotion
    confirmation = [
        member
        for (block, level), config in chosen.items()
        for member in _confirm(protocol, chain, block, level, config)
    ]
    return confirmation if any(m.slot.id not in done for m in confirmation) else []


def cells(protocol: Protocol, chain: Chain) -> Iterator[tuple[int, str]]:
    """(block, level) of every search of the chain."""
    for block in range(protocol.spec.effective_budget.blocks):
        for level in protocol.levels_of(chain.factor):
            yield block, level


def promoted(protocol: Protocol, chain: Chain, block: int, level: str, done: Done) -> list[Evaluation]:
    """The best designed points by validation, best first; the library default (index 0) is never one."""
    budget = protocol.spec.effective_budget
    rows = [
        done[slot(protocol, chain, block, level, "retune", index).id] for index in range(1, budget.trials + 1)
    ]
    return sorted(rows, key=lambda e: (e.validation_metric, e.validation_loss, e.slot.index))[
        : budget.promoted
    ]


def choose(candidates: Sequence[Evaluation], repeats: Sequence[Evaluation]) -> Config:
    """The candidate with the best mean validation over its fresh seeds.

    Args:
        candidates: retune evaluations, best first.
        repeats: promote evaluations, candidate by candidate, equally many of each.
    """
    each = len(repeats) // len(candidates)
    assert each * len(candidates) == len(repeats)

    def rank(place: int) -> tuple[float, float, int]:
        rows = repeats[place * each : (place + 1) * each]
        return (
            statistics.fmean(e.validation_metric for e in rows),
            statistics.fmean(e.validation_loss for e in rows),
            candidates[place].slot.index,
        )

    return candidates[min(range(len(candidates)), key=rank)].config


def slot(protocol: Protocol, chain: Chain, block: int, level: str, phase: Phase, index: int) -> Slot:
    """The place of one member of the chain."""
    return Slot(
        study=protocol.spec.study,
        factor=chain.factor,
        task=chain.task,
        regime=chain.regime,
        block=block,
        level=level,
        phase=phase,
        index=index,
    )


def _retune(protocol: Protocol, chain: Chain, done: Done) -> list[Member]:
    """The first generation with an empty slot; [] when every trial of every cell is done."""
    trials = protocol.spec.effective_budget.trials
    places = list(cells(protocol, chain))
    size = GENERATION if protocol.spec.sampler in ADAPTIVE else trials
    # Trial 0, the library default, goes with the first generation.
    ends = [min(end, trials) + 1 for end in range(size, trials + size, size)]
    stages = [range(low, high) for low, high in zip([0, *ends[:-1]], ends, strict=True)]

    def empty(stage: range) -> bool:
        return any(
            slot(protocol, chain, block, level, "retune", index).id not in done
            for block, level in places
            for index in stage
        )

    current = next((i for i, stage in enumerate(stages) if empty(stage)), None)
    if current is None:
        return []
    members: list[Member] = []
    for block, level in places:
        search = _search(protocol, chain, block, level)
        for stage in stages[:current]:
            search.ask(len(stage))
            for index in stage:
                told = done[slot(protocol, chain, block, level, "retune", index).id]
                search.tell(index, told.validation_metric)
        for index, numbers in zip(stages[current], search.ask(len(stages[current])), strict=True):
            members.append(
                Member(
                    slot=slot(protocol, chain, block, level, "retune", index),
                    config=protocol.config(chain, level, numbers),
                    seed_index=index,
                    arm="default" if index == 0 else "tuned",
                )
            )
    return members


def _search(protocol: Protocol, chain: Chain, block: int, level: str) -> Search:
    spec = protocol.spec
    return Search(
        study=spec.study,
        task=chain.task,
        block=block,
        ranges=protocol.searched(chain, level),
        columns=sorted(spec.nuisance),
        trials=spec.effective_budget.trials,
        sampler=spec.sampler,
    )


def _promote(
    protocol: Protocol, chain: Chain, block: int, level: str, candidates: Sequence[Evaluation]
) -> list[Member]:
    seeds = protocol.spec.effective_budget.promote_seeds
    return [
        Member(
            slot=slot(protocol, chain, block, level, "promote", rank * seeds + seed),
            config=candidate.config,
            seed_index=seed,
        )
        for rank, candidate in enumerate(candidates)
        for seed in range(seeds)
    ]


def _confirm(protocol: Protocol, chain: Chain, block: int, level: str, config: Config) -> list[Member]:
    seeds = protocol.spec.effective_budget.confirm_seeds
    arms: list[tuple[Arm, Config]] = [("tuned", config), ("default", protocol.config(chain, level))]
    return [
        Member(
            slot=slot(protocol, chain, block, level, "confirm", place * seeds + seed),
            config=one,
            seed_index=seed,
            arm=arm,
        )
        for place, (arm, one) in enumerate(arms)
        for seed in range(seeds)
    ]
