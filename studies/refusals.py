"""Combinations that cannot mean anything are refused before anything is trained."""

from __future__ import annotations

from search_spaces.compatibility import indistinct, notes, refusal
from studies.mistakes import SpecError
from studies.plan import Chain, Protocol
from trainers.structure import structure_key
from trainers.task import TaskBook


def examine(fixed: Protocol, book: TaskBook) -> tuple[str, ...]:
    """Looks at every level of every question in every regime, on every declared task.

    Networks of a user's own are not built here: what they make of a config is their business.

    Returns:
        What is allowed but means less than it seems, each once.

    Raises:
        SpecError: a combination that cannot mean anything, or that no network can serve on the task; the
            message names the rule and both keys.
    """
    spec = fixed.spec
    found: dict[str, None] = {}
    known: set[str] = set()
    for i, question in enumerate(spec.asked):
        for regime in spec.regimes:
            for name in fixed.candidates(question.factor):
                task = book[name]()
                chain = Chain(factor=question.factor, task=name, regime=regime)
                configs = {level: fixed.config(chain, level) for level in question.levels}
                empty = indistinct(question.factor, configs)
                if empty:
                    raise SpecError(
                        spec.file, f"questions[{i}].levels", f"{empty} (in {regime}, task {name})"
                    )
                for level, config in configs.items():
                    place = f"({level} in {regime}, task {name})"
                    if config.id not in known:
                        known.add(config.id)
                        broken = refusal(config)
                        if broken:
                            raise SpecError(spec.file, f"questions[{i}]", f"{broken} {place}")
                        found |= dict.fromkeys(notes(config))
                    if task.network is None:
                        try:
                            structure_key(config, task)
                        except ValueError as error:
                            raise SpecError(spec.file, f"questions[{i}]", f"{error} {place}") from None
    return tuple(found)
