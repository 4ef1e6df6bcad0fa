"""One chain: retune every level with the same budget, promote the best, confirm the chosen.

What is to be trained next is a function of the protocol and of what has been trained; a resume calls the
same function. `SearchState` only spares it the way that it has gone before.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reports.evidence.budget import EXTERNAL
from reports.evidence.fairness_checks import FIXED_DESIGNS
from search_spaces.config import Config
from studies.comparison.external_check import ExternalCheck
from studies.comparison.protocol import Chain, ComparisonProtocol
from studies.samplers import GENERATION, Search
from studies.spec.control_arms import salt
from trainers.evaluation import Arm, Evaluation, Phase, Slot
from trainers.member import Member

Place = tuple[int, str, Phase, int]
"""(block, level, phase, index): a slot within its chain. Looked up several times for every member, and hashed
a hundred times faster than the slot's id."""

Fixed = ComparisonProtocol | ExternalCheck
"""What is fixed: of the rows, or of the external check."""

Done = Mapping[Place, Evaluation]
"""Place -> its evaluation, of one chain."""


@dataclass(kw_only=True)
class _Ongoing:
    """One cell's search on its way."""

    search: Search
    generation: int = -1
    """The last that was asked,"""
    points: list[dict[str, float]] = field(default_factory=list)
    """and its points."""

    def reach(
        self, generation: int, stages: Sequence[range], done: Done, cell: tuple[int, str]
    ) -> list[dict[str, float]]:
        """The points of a generation; those before it are asked and told first, where they have not been."""
        while self.generation < generation:
            for index in stages[self.generation] if self.generation >= 0 else ():
                self.search.tell(index, done[(*cell, "retune", index)].validation_metric)
            self.generation += 1
            self.points = self.search.ask(len(stages[self.generation]))
        return self.points


@dataclass(kw_only=True)
class SearchState:
    """The searches of one chain, for as long as it is worked on in this process.

    Without it every generation of an adaptive sampler would ask for all earlier ones again.
    """

    generation: int = 0
    """The first that may have an empty slot."""
    searches: dict[tuple[int, str], _Ongoing] = field(default_factory=dict)


def place(slot: Slot) -> Place:
    """Where a slot of this chain is."""
    return (slot.block, slot.level, slot.phase, slot.index)


def next_members(
    protocol: Fixed, chain: Chain, done: Done, memory: SearchState | None = None
) -> list[Member]:
    """Every member of the chain's current stage, trained ones included; empty when the chain is complete.

    The whole stage is returned so that packs do not depend on what is already trained. A stage is a
    generation of retune members (one generation unless the sampler is adaptive), then the promoted
    candidates, then both arms of the confirmation. Each needs all results of the one before.

    Args:
        protocol: what is fixed.
        chain: which one.
        done: what has been trained of it; grows from call to call.
        memory: of the earlier calls; the members are the same without it.
    """
    first = _retune(protocol, chain, done, memory or SearchState())
    if first:
        return first
    chosen: dict[tuple[int, str], Config] = {}
    promotion: list[Member] = []
    for block, level in cells(protocol, chain):
        candidates = promoted(protocol, block, level, done)
        members = _promote(protocol, chain, block, level, candidates)
        promotion += members
        if all(place(m.slot) in done for m in members):
            chosen[block, level] = choose(candidates, [done[place(m.slot)] for m in members])
    if any(place(m.slot) not in done for m in promotion):
        return promotion
    confirmation = [
        member
        for (block, level), config in chosen.items()
        for member in _confirm(protocol, chain, block, level, config)
    ]
    return confirmation if any(place(m.slot) not in done for m in confirmation) else []


def check_known(study: str, members: Sequence[Member], done: Done) -> None:
    """ValueError where the ledger holds a member with other numbers than it would be trained with now."""
    for member in members:
        known = done.get(place(member.slot))
        if known is not None and known.config != member.config:
            raise ValueError(
                f"study '{study}': the ledger holds other numbers for {member.slot} than this "
                "installation asks for; resume with the versions it was started with"
            )


def cells(protocol: Fixed, chain: Chain) -> Iterator[tuple[int, str]]:
    """(block, level) of every search of the chain."""
    for block in protocol.blocks(chain):
        for level in protocol.trained(chain):
            yield block, level


def promoted(protocol: Fixed, block: int, level: str, done: Done) -> list[Evaluation]:
    """The best designed points by validation, best first; the library default (index 0) is never one.

    Points that could not be trained come last: they say nothing of the level.
    """
    budget = protocol.study.effective_budget
    rows = [done[block, level, "retune", index] for index in range(1, budget.trials + 1)]
    return sorted(
        rows, key=lambda e: (e.status == "failed", e.validation_metric, e.validation_loss, e.slot.index)
    )[: budget.promoted]


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


def slot(protocol: Fixed, chain: Chain, block: int, level: str, phase: Phase, index: int) -> Slot:
    """The place of one member of the chain."""
    return Slot(
        study=protocol.name,
        factor=chain.factor,
        task=chain.task,
        regime=chain.regime,
        block=block,
        level=level,
        phase=phase,
        index=index,
    )


def salted(protocol: Fixed, chain: Chain, level: str) -> str:
    """What the streams of a level's members are keyed with besides: of a control its arm's name."""
    return salt(protocol.question(chain.factor), level)


def _retune(protocol: Fixed, chain: Chain, done: Done, memory: SearchState) -> list[Member]:
    """The first generation with an empty slot; [] when every trial of every cell is done."""
    places = list(cells(protocol, chain))
    stages = _generations(protocol)
    while memory.generation < len(stages) and all(
        (block, level, "retune", index) in done
        for index in stages[memory.generation]
        for block, level in places
    ):
        memory.generation += 1
    if memory.generation == len(stages):
        memory.searches.clear()
        return []
    members: list[Member] = []
    for block, level in places:
        if (block, level) not in memory.searches:
            memory.searches[block, level] = _Ongoing(search=_search(protocol, chain, block, level))
        at = memory.searches[block, level]
        points = at.reach(memory.generation, stages, done, (block, level))
        for index, numbers in zip(stages[memory.generation], points, strict=True):
            members.append(
                Member(
                    slot=slot(protocol, chain, block, level, "retune", index),
                    config=protocol.config(chain, level, numbers),
                    seed_index=index,
                    arm="default" if index == 0 else "tuned",
                    salt=salted(protocol, chain, level),
                    root=protocol.study.root,
                )
            )
    return members


def _generations(protocol: Fixed) -> list[range]:
    """Trial numbers that are asked together; trial 0, the library default, goes with the first."""
    trials = protocol.study.effective_budget.trials
    size = trials if protocol.study.sampler in FIXED_DESIGNS else GENERATION
    ends = [min(end, trials) + 1 for end in range(size, trials + size, size)]
    return [range(low, high) for low, high in zip([0, *ends[:-1]], ends, strict=True)]


def _search(protocol: Fixed, chain: Chain, block: int, level: str) -> Search:
    spec = protocol.study
    return Search(
        study=spec.root,
        task=chain.task,
        block=block,
        ranges=protocol.searched(chain, level),
        columns=sorted(spec.nuisance),
        trials=spec.effective_budget.trials,
        sampler=spec.sampler,
    )


def _promote(
    protocol: Fixed, chain: Chain, block: int, level: str, candidates: Sequence[Evaluation]
) -> list[Member]:
    seeds = protocol.study.effective_budget.promote_seeds
    return [
        Member(
            slot=slot(protocol, chain, block, level, "promote", rank * seeds + seed),
            config=candidate.config,
            seed_index=seed,
            salt=salted(protocol, chain, level),
            root=protocol.study.root,
        )
        for rank, candidate in enumerate(candidates)
        for seed in range(seeds)
    ]


def _confirm(protocol: Fixed, chain: Chain, block: int, level: str, config: Config) -> list[Member]:
    seeds = protocol.study.effective_budget.confirm_seeds
    phase: Phase = "external" if chain.factor == EXTERNAL else "confirm"
    arms: list[tuple[Arm, Config]] = [("tuned", config), ("default", protocol.config(chain, level))]
    return [
        Member(
            slot=slot(protocol, chain, block, level, phase, place * seeds + seed),
            config=one,
            seed_index=seed,
            arm=arm,
            salt=salted(protocol, chain, level),
            root=protocol.study.root,
        )
        for place, (arm, one) in enumerate(arms)
        for seed in range(seeds)
    ]
