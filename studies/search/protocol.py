"""What is fixed before the first trial of a search study; its hash is the study's protocol and plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from reports.evidence.budget import TaskFacts
from search_spaces.compatibility import notes, refusal
from search_spaces.config import SETTING_NAMES, Config, Setting, digest
from search_spaces.factor import unknown
from search_spaces.space import framework_levels
from studies.comparison.own_networks import misread, noted, rehearsed
from studies.comparison.protocol import built, facts_of, unhonoured
from studies.search.optuna_study import AHEAD, STARTUP
from studies.search.space import Point, Space
from studies.search.spec import SearchSpec, parse
from studies.search.successive_halving import DEPTH, ETA
from studies.spec.errors import SpecError
from trainers.config_audit.equivalence import without_effect
from trainers.effective_values import EffectiveValue, describe, effective_values
from trainers.evaluation import Slot
from trainers.loop.structure import structure_key
from trainers.tasks.checks import READABLE
from trainers.tasks.task import Task, TaskBook
from trainers.versions import versions

LEVEL, REGIME = "joint", "search"
"""What stands in the slots of a search, which has neither levels to compare nor regimes."""

RULES: Mapping[str, Any] = {
    "selection": "validation metric, then validation loss, then trial number; finished trials only",
    "successive_halving": {
        "eta": ETA,
        "rungs": DEPTH,
        "judged_by": "the generations complete when it is asked",
    },
    "startup": STARTUP,
    "asked_ahead": AHEAD,
    "tpe": {"group": True, "constant_liar": True},
}
"""Everything that is decided by this version of the program and not by the study file."""


@dataclass(frozen=True, kw_only=True)
class SearchProtocol:
    """The study, the task's content and the rules."""

    study: SearchSpec
    facts: TaskFacts
    unhonoured: frozenset[str]
    """What the task's own network does not take from the config: factors, levels and settings."""
    started_as: str = ""
    """The hash under which a ledger has this very study; earlier versions hashed it in another form."""

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study

    @property
    def task_facts(self) -> tuple[TaskFacts, ...]:
        """Of its one task."""
        return (self.facts,)

    def with_task_facts(self, facts: Iterable[TaskFacts]) -> SearchProtocol:
        """The same with other facts of the same task."""
        (one,) = facts
        return replace(self, facts=one)

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "spec": self.study.resolved(),
            "facts": [self.facts.plain()],
            "unhonoured": sorted(self.unhonoured),
            "rules": dict(RULES),
            "package": versions()["groundrules"],
        }

    @cached_property
    def hash(self) -> str:
        return self.started_as or digest(self.plain())

    def config(self, point: Point) -> Config:
        """The complete configuration of one trial."""
        return self.study.joint.config(point)

    def slot(self, number: int) -> Slot:
        """The place of one trial."""
        return Slot(
            study=self.name,
            factor="",
            task=self.study.task,
            regime=REGIME,
            block=0,
            level=LEVEL,
            phase="search",
            index=number,
        )


def search_protocol(study: SearchSpec, book: TaskBook) -> SearchProtocol:
    """Builds the task once, for its facts.

    Raises:
        SpecError: a task that is unknown or cannot be built, or something searched or fixed that the
            task's own network does not take.
    """
    if study.task not in book:
        rule = f"{unknown('task', study.task, book)} (add your own with --tasks-from FILE.py)"
        raise SpecError(study.file, "tasks", rule)
    task = built(study.file, book, study.task)
    missing = unhonoured(task)
    for name, values in study.joint.choices.items():
        for word in (name, *(f"{name}={value}" for value in values)):
            if word in missing:
                raise SpecError(study.file, f"space.{name}", _untaken(task, word))
    for name, level in study.joint.held.levels.items():
        for word in (name, f"{name}={level}"):
            if word in missing and level != framework_levels()[name]:
                raise SpecError(study.file, f"fixed.{name}", _untaken(task, word))
    facts = facts_of(task, study.study, [Setting(**study.joint.held.setting)])
    return SearchProtocol(study=study, facts=facts, unhonoured=missing)


def _untaken(task: Task, word: str) -> str:
    return f"the network of task '{task.name}' does not take {word} from the configuration"


def protocol_of(plain: Mapping[str, Any]) -> SearchProtocol:
    """The protocol that a ledger keeps, as an object again."""
    resolved = plain["spec"]
    return SearchProtocol(
        study=parse(resolved, file=f"ledger, study {resolved['study']}"),
        facts=TaskFacts(**plain["facts"][0]),
        unhonoured=frozenset(plain["unhonoured"]),
    )


def examine(fixed: SearchProtocol, task: Task) -> tuple[str, ...]:
    """Looks at every pair of choices, at the ends of every number, before anything is trained.

    Returns:
        What is allowed but means less than it seems, each once.

    Raises:
        SpecError: a combination that cannot mean anything at either end of its numbers, or that no network
            can serve on the task; the message names the rule and both keys.
    """
    space, file = fixed.study.joint, fixed.study.file
    remarks: dict[str, None] = {}
    cut: dict[EffectiveValue, None] = {}
    items = len(task.split(fixed.name, 0).train)
    for picked in space.pairs():
        broken: list[str] = []
        for end in (0.0, 1.0):
            point = {**picked, **{name: span.at(end) for name, span in space.open(picked)}}
            try:
                config = space.config(point)
                problem = refusal(config)
                structure_key(config, task)
            except ValueError as error:
                raise SpecError(file, "space", f"{error} ({_words(picked)})") from None
            if problem:
                broken.append(problem)
            cut |= dict.fromkeys(
                one for one in effective_values(config, items=items) if one.name in SETTING_NAMES
            )
            remarks |= dict.fromkeys(notes(config))
        if len(broken) == 2:
            raise SpecError(file, "space", f"{broken[0]} ({_words(picked)})")
    if task.network is not None:
        remarks |= dict.fromkeys(_of_own_network(fixed, task))
    remarks |= dict.fromkeys(_searched_in_vain(space, task, items))
    at_times = [dimension.name for dimension in space.dimensions if dimension.where]
    if fixed.study.sampler == "gp" and at_times:
        remarks[
            f"sampler gp models no number that a choice opens: {', '.join(at_times)} are drawn at random"
        ] = None
    return (*remarks, *describe({task.name: cut}), *(f"task {task.name}: {note}" for note in task.notes))


def _searched_in_vain(space: Space, task: Task, items: int) -> Iterator[str]:
    """Notes on numbers all of whose range comes to the same training, with whatever choices they are open."""
    idle: dict[str, bool] = {}
    for picked in space.pairs():
        spans = {name: span for name, span in space.open(picked) if idle.get(name, True)}
        others = {name: span.at(0.5) for name, span in space.open(picked) if name not in spans}

        def config(point: Mapping[str, float], picked: Point = picked, others: Point = others) -> Config:
            return space.config({**picked, **others, **point})

        still = without_effect(spans, config, task, items=items)
        idle |= {name: name in still for name in spans}
    for name in (name for name, vain in idle.items() if vain):
        yield f"{name} is searched in vain: the same is trained wherever it is in its range"


def _of_own_network(fixed: SearchProtocol, task: Task) -> Iterator[str]:
    """Notes on the task's own network; SpecError where it fails, or does not read what is searched.

    Each parameter is looked at alone, the others at their first choice and the middle of their range.
    """
    space, file = fixed.study.joint, fixed.study.file
    first = {name: values[0] for name, values in space.choices.items()}
    tried: set[str] = set()

    def config(**own: Any) -> Config:
        picked = {**first, **{name: value for name, value in own.items() if name in first}}
        middle = {name: span.at(own.get(name, 0.5)) for name, span in space.open(picked)}
        return space.config({**picked, **middle})

    places = {
        name: {str(value): config(**{name: value}) for value in of} for name, of in space.choices.items()
    }
    places |= {
        name: {f"{end} {name}": config(**{name: at}) for end, at in (("least", 0.0), ("most", 1.0))}
        for name, _ in space.open(first)
        if name in READABLE
    }
    for name, configs in (places or {"": {"held": config()}}).items():
        try:
            rehearsed(configs, task, tried)
            broken = misread(configs, task)
        except ValueError as error:
            raise SpecError(file, "space", str(error)) from None
        if broken:
            raise SpecError(file, f"space.{name}", broken)
        yield from noted(configs, name, task)


def _words(picked: Point) -> str:
    return ", ".join(f"{name} {value}" for name, value in picked.items()) or "at the ends of its numbers"
