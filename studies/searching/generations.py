"""What a search trains next: a function of the protocol and of what has been trained, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.compatibility import refusal
from studies.searching.halving import rungs
from studies.searching.joint import Told, ask
from studies.searching.plan import SearchProtocol
from studies.searching.spec import SearchSpec
from trainers.evaluation import Evaluation
from trainers.member import Member

Done = Mapping[str, Evaluation]
"""Slot id -> its evaluation."""

PARTS, LEAST = 4, 8
"""A generation that settles on one structure still makes so many packs, each of at least LEAST members: the
next one waits for all of them, and a single pack would keep all workers but one waiting."""


def pack_size(spec: SearchSpec) -> int:
    """Members of a pack, at most: by the study file alone, so that any number of workers packs alike."""
    return min(spec.pack_size, max(LEAST, -(-spec.generation // PARTS)))


def next_members(fixed: SearchProtocol, done: Done) -> list[Member]:
    """The first generation with an empty slot, trained members included; [] when every trial is done.

    The whole generation is returned so that packs do not depend on what is already trained. Neither do its
    points and rungs: they come from the generations before it, which are complete.
    """
    spec = fixed.spec
    first = next((n for n in range(spec.trials) if fixed.slot(n).id not in done), None)
    if first is None:
        return []
    generation = first // spec.generation
    start = generation * spec.generation
    earlier = [done[fixed.slot(number).id] for number in range(start)]
    points = ask(
        spec.joint,
        [told(fixed, row) for row in earlier],
        count=min(spec.generation, spec.trials - start),
        study=spec.study,
        task=spec.task,
        generation=generation,
        trials=spec.trials,
        sampler=spec.sampler,
        refused=refusal,
    )
    members = []
    for number, point in enumerate(points, start):
        config = fixed.config(point)
        members.append(
            Member(
                slot=fixed.slot(number),
                config=config,
                seed_index=number,
                rungs=rungs(config.setting, earlier) if spec.pruner == "successive_halving" else (),
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
