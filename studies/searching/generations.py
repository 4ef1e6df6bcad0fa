"""What a search trains next: a function of the protocol and of what has been trained, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search_spaces.compatibility import refusal
from studies.searching.halving import Ladder
from studies.searching.joint import Conversation, Told
from studies.searching.plan import SearchProtocol
from studies.searching.space import Point
from studies.searching.spec import SearchSpec
from trainers.evaluation import Evaluation
from trainers.member import Member

Done = Mapping[int, Evaluation]
"""Trial number -> its evaluation."""

PARTS, LEAST = 4, 8
"""A generation that settles on one structure still makes so many packs, each of at least LEAST members: the
next one waits for all of them, and a single pack would keep all workers but one waiting."""


def pack_size(spec: SearchSpec) -> int:
    """Members of a pack, at most: by the study file alone, so that any number of workers packs alike."""
    return min(spec.pack_size, max(LEAST, -(-spec.generation // PARTS)))


@dataclass(kw_only=True)
class Memory:
    """What one search has told Optuna and seen at its rungs, for as long as this process works on it."""

    talk: Conversation
    ladder: Ladder
    generation: int = -1
    """The last that was asked,"""
    points: list[Point] = field(default_factory=list)
    """and its points."""

    @staticmethod
    def of(fixed: SearchProtocol) -> Memory:
        """At the beginning of a search."""
        spec = fixed.spec
        talk = Conversation(
            spec.joint,
            study=spec.study,
            task=spec.task,
            trials=spec.trials,
            sampler=spec.sampler,
            refused=refusal,
        )
        return Memory(talk=talk, ladder=Ladder(spec.joint.held.setting["evaluations"]))


def next_members(fixed: SearchProtocol, done: Done, memory: Memory | None = None) -> list[Member]:
    """The first generation with an empty slot, trained members included; [] when every trial is done.

    The whole generation is returned so that packs do not depend on what is already trained. Neither do its
    points and rungs: they come from the generations before it, which are complete.

    Args:
        fixed: the protocol.
        done: what has been trained; grows from call to call.
        memory: of the earlier calls; the members are the same without it.
    """
    spec = fixed.spec
    memory = memory or Memory.of(fixed)
    known = max(0, memory.generation) * spec.generation
    first = next((n for n in range(known, spec.trials) if n not in done), None)
    if first is None:
        return []
    generation = first // spec.generation
    start = generation * spec.generation
    if generation != memory.generation:
        fresh = [done[number] for number in range(memory.talk.told, start)]
        memory.talk.tell([told(fixed, row) for row in fresh])
        memory.ladder.add(fresh)
        memory.points = memory.talk.ask(min(spec.generation, spec.trials - start), generation=generation)
        memory.generation = generation
    members = []
    for number, point in enumerate(memory.points, start):
        config = fixed.config(point)
        members.append(
            Member(
                slot=fixed.slot(number),
                config=config,
                seed_index=number,
                rungs=memory.ladder.rungs(config.setting) if spec.pruner == "successive_halving" else (),
            )
        )
    return members


def told(fixed: SearchProtocol, row: Evaluation) -> Told:
    """One trial as the sampler learns of it; a diverged one has the trivial predictor's error."""
    pruned = row.status == "pruned"
    return Told(
        point=fixed.spec.joint.point(row.config),
        metric=row.curve[-1].validation_metric if pruned else row.validation_metric,
        pruned_at=row.steps if pruned else None,
    )


def by_number(rows: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """Trials in the order they were asked."""
    return tuple(sorted(rows, key=lambda row: row.slot.index))
