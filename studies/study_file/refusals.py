"""Combinations that cannot mean anything are refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from search_spaces.compatibility import indistinct, notes, refusal
from search_spaces.config import Config
from studies.plan import Chain, Protocol
from studies.study_file.mistakes import SpecError
from studies.study_file.own_networks import misread, noted, regime_configs, rehearsed
from trainers.structure import structure_key
from trainers.task import TaskBook


def examine(fixed: Protocol, book: TaskBook) -> tuple[str, ...]:
    """Looks at every level of every question in every regime, on every declared task.

    Returns:
        What is allowed but means less than it seems, each once.

    Raises:
        SpecError: a combination that cannot mean anything, or that no network can serve on the task; the
            message names the rule and both keys.
    """
    spec = fixed.spec
    found: dict[str, None] = {}
    known: set[str] = set()
    tried: set[str] = set()
    for i, question in enumerate(spec.asked):
        key = "controls" if question.control else f"questions[{i}]"
        found |= dict.fromkeys(_left_out(fixed, question.factor))
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
                twins = _twins(configs, items=len(task.split(spec.root, 0).train))
                if twins and not question.control:  # whose arms are meant to come to the same
                    rule = f"{' and '.join(twins)} come to the same training (in {regime}, task {name})"
                    raise SpecError(spec.file, f"questions[{i}].levels", rule)
                for level, config in configs.items():
                    place = f"({level} in {regime}, task {name})"
                    if config.id not in known:
                        known.add(config.id)
                        broken = refusal(config)
                        if broken:
                            raise SpecError(spec.file, key, f"{broken} {place}")
                        found |= dict.fromkeys(() if question.control else notes(config))
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
                    found |= dict.fromkeys(noted(configs, question.factor, task))
    return tuple(found)


def _check_regimes(fixed: Protocol, factor: str, book: TaskBook) -> None:
    """SpecError where regimes differ in something that a task's own network does not read."""
    for name in fixed.candidates(factor):
        task = book[name]()
        if task.network is None or len(fixed.question(factor).regimes) < 2:
            continue
        try:
            unread = misread(regime_configs(fixed, factor, name), task)
        except ValueError as error:
            raise SpecError(fixed.spec.file, "regimes", str(error)) from None
        if unread:
            raise SpecError(fixed.spec.file, "regimes", unread)


def _twins(configs: Mapping[str, Config], *, items: int) -> tuple[str, str] | None:
    """Two levels that train alike on so many items: a smaller task uses all it has, and one batch at most."""
    seen: dict[str, str] = {}
    for level, config in configs.items():
        size = min(config.setting.train_size, items)
        batch = min(config.setting.batch_size, size)
        used = replace(config, setting=replace(config.setting, train_size=size, batch_size=batch))
        if (twin := seen.setdefault(used.id, level)) != level:
            return twin, level
    return None


def _left_out(fixed: Protocol, factor: str) -> Iterator[str]:
    """Which tasks the question skips, because of their own networks."""
    for task in fixed.spec.tasks:
        if names := fixed.untaken(factor, task):
            yield (
                f"the question on {factor} leaves out task {task}, whose own network does not take "
                f"{' and '.join(names)} from the configuration"
            )
