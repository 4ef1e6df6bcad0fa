"""What a search trains next: a function of the protocol and of what has been trained, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search_spaces.compatibility import refusal
from search_spaces.config import Config
from studies.search.optuna_study import AHEAD, OptunaStudy, TrialResult
from studies.search.protocol import SearchProtocol
from studies.search.space import Point
from studies.search.successive_halving import Ladder
from trainers.evaluation import Evaluation
from trainers.member import Member

Done = Mapping[int, Evaluation]
"""Trial number -> its evaluation."""


@dataclass(kw_only=True)
class SearchState:
    """What one search has told Optuna and seen at its rungs, for as long as this process works on it."""

    talk: OptunaStudy
    ladder: Ladder
    complete: int = 0
    """Trials before the first empty slot, as far as has been looked."""
    asked: dict[int, list[Member]] = field(default_factory=dict)
    """Generation -> its members, of those that later ones still need to know."""

    @staticmethod
    def of(fixed: SearchProtocol) -> SearchState:
        """At the beginning of a search."""
        spec = fixed.study
        talk = OptunaStudy(
            spec.joint,
            study=spec.study,
            task=spec.task,
            trials=spec.trials,
            sampler=spec.sampler,
            refused=refusal,
        )
        return SearchState(talk=talk, ladder=Ladder(spec.joint.held.setting["evaluations"]))


def open_generations(fixed: SearchProtocol, done: Done, memory: SearchState) -> range:
    """The first generation with an empty slot and those after it that may be trained beside it."""
    spec = fixed.study
    while memory.complete in done:
        memory.complete += 1
    if memory.complete >= spec.trials:
        return range(0)
    first, count = memory.complete // spec.generation, -(-spec.trials // spec.generation)
    return range(first, min(first + 1 + AHEAD, count))


def known_when_asked(generation: int, size: int) -> int:
    """Trials whose results are known when a generation may first be asked; its rungs and points need them."""
    return max(0, generation - AHEAD) * size


def members_of(
    generation: int, fixed: SearchProtocol, done: Done, memory: SearchState | None = None
) -> list[Member]:
    """The members of one generation, trained ones included, so that packs do not depend on what is trained.

    Neither do points and rungs: they come from the generations that are complete when it may first be
    asked, and from the points, not the results, of those in between.

    Args:
        generation: one of `open_generations`.
        fixed: the protocol.
        done: what has been trained; grows from call to call.
        memory: of the earlier calls; the members are the same without it.
    """
    spec = fixed.study
    memory = memory or SearchState.of(fixed)
    start = generation * spec.generation
    if generation not in memory.asked:
        known = known_when_asked(generation, spec.generation)
        fresh = [done[number] for number in range(memory.talk.told, known)]
        memory.talk.tell([trial_result(fixed, row) for row in fresh])
        memory.ladder.add(fresh)
        memory.asked = {g: points for g, points in memory.asked.items() if g >= generation - AHEAD}
        points = memory.talk.ask(
            min(spec.generation, spec.trials - start),
            generation=generation,
            running=[_point(number, fixed, done, memory) for number in range(known, start)],
        )
        memory.asked[generation] = [
            _member(number, fixed.config(point), fixed, memory) for number, point in enumerate(points, start)
        ]
    return memory.asked[generation]


def _member(number: int, config: Config, fixed: SearchProtocol, memory: SearchState) -> Member:
    stops = fixed.study.pruner == "successive_halving"
    return Member(
        slot=fixed.slot(number),
        config=config,
        seed_index=number,
        rungs=memory.ladder.rungs(config.setting) if stops else (),
    )


def _point(number: int, fixed: SearchProtocol, done: Done, memory: SearchState) -> Point:
    """What a trial that has been asked was asked for."""
    generation, place = divmod(number, fixed.study.generation)
    config = done[number].config if number in done else memory.asked[generation][place].config
    return fixed.study.joint.point(config)


def trial_result(fixed: SearchProtocol, row: Evaluation) -> TrialResult:
    """One trial as the sampler learns of it; a diverged one has the trivial predictor's error."""
    pruned = row.status == "pruned"
    return TrialResult(
        point=fixed.study.joint.point(row.config),
        metric=row.curve[-1].validation_metric if pruned else row.validation_metric,
        pruned_at=row.steps if pruned else None,
    )


def by_number(rows: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """Trials in the order they were asked."""
    return tuple(sorted(rows, key=lambda row: row.slot.index))
