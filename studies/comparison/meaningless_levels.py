"""Combinations that cannot mean anything are refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from reports.verdicts.sentences import counted, listed
from search_spaces.compatibility import indistinct, notes, refusal
from search_spaces.config import Config
from studies.comparison.equivalent_levels import twins
from studies.comparison.own_networks import misread, noted, rehearsed
from studies.comparison.protocol import Chain, ComparisonProtocol
from studies.spec.errors import SpecError
from trainers.config_audit.equivalence import without_effect
from trainers.effective_values import EffectiveValue, describe, effective_values
from trainers.loop.structure import structure_key
from trainers.tasks.task import Task, TaskBook


def examine(fixed: ComparisonProtocol, book: TaskBook) -> tuple[str, ...]:
    """Looks at every level of every question in every regime, on every declared task.

    Returns:
        What is allowed but means less than it seems, each once.

    Raises:
        SpecError: a combination that cannot mean anything, or that no network can serve on the task; the
            message names the rule and both keys.
    """
    spec = fixed.study
    remarks: dict[str, None] = {}
    known: set[str] = set()
    tried: set[str] = set()
    cuts: dict[str, dict[EffectiveValue, None]] = {}
    idle: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for i, question in enumerate(spec.asked):
        key = "controls" if question.control else f"questions[{i}]"
        remarks |= dict.fromkeys(_left_out(fixed, question.factor))
        if not question.control:
            _check_regimes(fixed, question.factor, book)
        for regime in question.regimes:
            for name in fixed.candidates(question.factor):
                task = book[name]()
                chain = Chain(factor=question.factor, task=name, regime=regime)
                configs = {level: fixed.config(chain, level) for level in question.levels}
                empty = indistinct(question.factor, configs)
                if empty and not question.control:
                    raise SpecError(
                        spec.file, f"questions[{i}].levels", f"{empty} (in {regime}, task {name})"
                    )
                for level, config in configs.items():
                    place = f"({level} in {regime}, task {name})"
                    if config.id not in known:
                        known.add(config.id)
                        broken = refusal(config)
                        if broken:
                            raise SpecError(spec.file, key, f"{broken} {place}")
                        remarks |= dict.fromkeys(() if question.control else notes(config))
                    try:
                        structure_key(config, task)
                    except ValueError as error:
                        raise SpecError(spec.file, key, f"{error} {place}") from None
                if task.network is not None:
                    try:
                        rehearsed(configs, task, tried)
                        unread = "" if question.control else misread(configs, task)
                    except ValueError as error:
                        raise SpecError(spec.file, key, str(error)) from None
                    if unread:
                        raise SpecError(spec.file, f"questions[{i}].levels", f"{unread} (in {regime})")
                    remarks |= dict.fromkeys(noted(configs, question.factor, task))
                if question.control:  # whose arms are meant to come to the same
                    continue
                if same := twins(fixed, chain, task):
                    raise SpecError(spec.file, f"questions[{i}].levels", same)
                remarks |= dict.fromkeys(_nothing_to_tune(fixed, chain))
                for level, number in _tuned_in_vain(fixed, chain, task):
                    idle.setdefault((question.factor, regime, number), {}).setdefault(level, []).append(name)
                cut = cuts.setdefault(name, {})
                for level in question.levels:
                    cut |= dict.fromkeys(_cut(fixed, chain, level, task))
    vain = (_in_vain(fixed, *row, levels) for row, levels in idle.items())
    data = (f"task {name}: {note}" for name in spec.tasks for note in book[name]().notes)
    return (*remarks, *vain, *describe(cuts), *data)


def _check_regimes(fixed: ComparisonProtocol, factor: str, book: TaskBook) -> None:
    """SpecError where regimes differ in something that a task's own network does not read."""
    for name in fixed.candidates(factor):
        task = book[name]()
        if task.network is None or len(fixed.question(factor).regimes) < 2:
            continue
        try:
            unread = misread(_regime_configs(fixed, factor, name), task)
        except ValueError as error:
            raise SpecError(fixed.study.file, "regimes", str(error)) from None
        if unread:
            raise SpecError(fixed.study.file, "regimes", unread)


def _regime_configs(fixed: ComparisonProtocol, factor: str, task: str) -> dict[str, Config]:
    """Regime -> the configuration of a question's first level there."""
    question = fixed.question(factor)
    return {
        regime: fixed.config(Chain(factor=factor, task=task, regime=regime), question.levels[0])
        for regime in question.regimes
    }


def _nothing_to_tune(fixed: ComparisonProtocol, chain: Chain) -> Iterator[str]:
    """That there is nothing to choose at the levels of a row, or at some of them."""
    levels = fixed.levels_of(chain.factor)
    closed = [level for level in levels if not fixed.searched(chain, level)]
    if not closed:
        return
    budget = fixed.study.effective_budget
    again = counted(budget.promoted * budget.promote_seeds, "promote member")
    again = f"{1 + budget.trials} retune and {again} of a cell"
    row = f"{chain.factor} in {chain.regime}"
    if len(closed) < len(levels):
        yield (
            f"{row}: no number is open at {listed(closed)}, so the {again} train one configuration with "
            "other seeds there and choose nothing, while the other levels are tuned"
        )
        return
    least = (budget.trials, budget.promoted, budget.promote_seeds) == (1, 1, 1)
    cheaper = ", and budget: {trials: 1, promoted: 1, promote_seeds: 1} pays least for them"
    yield (
        f"{row}: no number is open at any level, so the {again} train one configuration with other seeds and "
        "choose nothing, and both confirm arms are the same; a number in `nuisance` gives them a choice"
        f"{'' if least else cheaper}"
    )


def _tuned_in_vain(fixed: ComparisonProtocol, chain: Chain, task: Task) -> Iterator[tuple[str, str]]:
    """(level, number) where all of the number's range comes to the same training."""
    items = len(task.split(fixed.study.root, 0).train)
    for level in fixed.levels_of(chain.factor):
        spans = fixed.searched(chain, level)
        at = partial(fixed.config, chain, level)
        yield from ((level, number) for number in without_effect(spans, at, task, items=items))


def _in_vain(
    fixed: ComparisonProtocol, factor: str, regime: str, number: str, levels: Mapping[str, Sequence[str]]
) -> str:
    """Of a number that is tuned in vain at those levels: level -> the tasks where it is."""
    tasks = [name for name in fixed.candidates(factor) if any(name in on for on in levels.values())]
    on = "" if len(tasks) == len(fixed.candidates(factor)) else f" on {listed(tasks)}"
    return (
        f"{factor} in {regime}: {number} is tuned in vain at {listed(list(levels))}{on}: the same is trained "
        "wherever it is in its range"
    )


def _cut(fixed: ComparisonProtocol, chain: Chain, level: str, task: Task) -> Iterator[EffectiveValue]:
    """What of a level is not what it says on the task: as it stands, and at the largest settings searched."""
    items = len(task.split(fixed.study.root, 0).train)
    largest = {name: span.high for name, span in fixed.searched(chain, level).items() if span.whole}
    for point in ({}, largest) if largest else ({},):
        for amount in effective_values(fixed.config(chain, level, point), items=items):
            if not amount.name.endswith("_patience"):  # which has a note of its own
                yield amount


def _left_out(fixed: ComparisonProtocol, factor: str) -> Iterator[str]:
    """Which tasks the question skips, because of their own networks."""
    for task in fixed.study.tasks:
        if names := fixed.untaken(factor, task):
            yield (
                f"the question on {factor} leaves out task {task}, whose own network does not take "
                f"{' and '.join(names)} from the configuration"
            )
