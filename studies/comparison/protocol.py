"""What is fixed before training: the protocol (before the pilot) and the plan (after it)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from reports.evidence.budget import Margin, TaskFacts
from reports.evidence.question import Question
from reports.evidence.race_progress import Cells, RaceProgress, race_progress_of
from reports.statistics.compare import FEW_FAMILIES
from reports.statistics.reversals import FRESH_BLOCKS, WORST
from search_spaces.config import SETTING_NAMES, Config, Setting, digest
from search_spaces.factor import Range, unknown
from search_spaces.overrides import Overrides
from search_spaces.space import complete, framework_levels, open_ranges
from studies.comparison.own_networks import network_facts
from studies.comparison.pilot import ACCEPTANCE, RECIPES, pilot_members
from studies.samplers import GENERATION
from studies.spec import control_arms
from studies.spec.design_points import point, searched, taken
from studies.spec.errors import SpecError
from studies.spec.resolved import ResolvedStudy
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.randomness import stream
from trainers.tasks.checks import HONOURED, ONLY_OURS
from trainers.tasks.task import Task, TaskBook
from trainers.versions import versions

RULES: Mapping[str, Any] = {
    "recipes": {name: recipe.plain() for name, recipe in RECIPES.items()},
    "acceptance": asdict(ACCEPTANCE),
    "design": "one scrambled Sobol design per (study, task, block), columns by number name",
    "generation": GENERATION,
    "selection": "validation metric, then validation loss, then trial number",
    "looks": "one, when all families are complete",
}
"""Everything that is decided by this version of the program and not by the study file."""

RACE = (
    "rows race over families in declared order: at every look, with bounds at alpha / (levels * looks), "
    "levels proved worse by more than a margin are dropped, and a row whose cheapest level left is "
    "admissible stops"
)
"""What stands for RULES['looks'] in a study that looks more than once."""

CHALLENGE = (
    f"always: unless the confirm phase contradicts it, the {WORST} tasks on which it does worst are trained "
    f"again at the claim's two levels on {FRESH_BLOCKS} fresh blocks each; only these are tested, Holm over "
    f"{WORST}; below {FEW_FAMILIES} families there is none"
)
"""What RULES have besides in a study with such a claim."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Retune, promote and confirm of one question on one task in one regime."""

    factor: str
    task: str
    regime: str
    levels: tuple[str, ...] = ()
    """The levels still in the race there, in the question's order; (): all of the question's."""
    fresh: int = 0
    """Blocks beyond the plan's, of the challenge stage; 0: the plan's own blocks."""

    @property
    def place(self) -> tuple[str, str, str]:
        """(factor, task, regime): as the ledger keeps it, whichever levels are left."""
        return (self.factor, self.task, self.regime)


@dataclass(frozen=True, kw_only=True)
class ComparisonProtocol:
    """The study, the tasks' content and the rules: hashed before the pilot's first member."""

    study: ResolvedStudy
    facts: Mapping[str, TaskFacts]
    """In the order the study declares its tasks."""
    unhonoured: Mapping[str, frozenset[str]]
    """Task -> what its own network does not take from the config: factors, levels (factor=level) and
    settings. Factors stay at the framework's default there, and questions about any of it skip the task."""
    started_as: str = ""
    """The hash under which a ledger has this very study; earlier versions hashed it in another form."""

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study

    @property
    def task_facts(self) -> tuple[TaskFacts, ...]:
        """Of every task, in declared order."""
        return tuple(self.facts.values())

    def with_task_facts(self, facts: Iterable[TaskFacts]) -> ComparisonProtocol:
        """The same with other facts of the same tasks."""
        return replace(self, facts={one.name: one for one in facts})

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "spec": self.study.resolved(),
            "facts": [facts.plain() for facts in self.facts.values()],
            "unhonoured": {task: sorted(factors) for task, factors in self.unhonoured.items()},
            "rules": {
                **RULES,
                **({"looks": RACE} if len(self.study.effective_budget.looks) > 1 else {}),
                **({"challenge": CHALLENGE} if any(c.type == "always" for c in self.study.claimed) else {}),
            },
            "package": versions()["groundrules"],
        }

    @cached_property
    def hash(self) -> str:
        return self.started_as or digest(self.plain())

    @cached_property
    def positions(self) -> Mapping[str, Mapping[str, int]]:
        """Factor -> level -> its place in the question; '' holds the pilot's recipes."""
        asked = {q.factor: {level: i for i, level in enumerate(q.levels)} for q in self.study.asked}
        return {"": {recipe: i for i, recipe in enumerate(RECIPES)}, **asked}

    def question(self, factor: str) -> Question:
        """The question of that name."""
        return next(q for q in self.study.asked if q.factor == factor)

    def levels_of(self, factor: str) -> tuple[str, ...]:
        """The levels that the study asks about."""
        return self.question(factor).levels

    def trained(self, chain: Chain) -> tuple[str, ...]:
        """The levels that are trained in a chain."""
        return chain.levels or self.levels_of(chain.factor)

    def blocks(self, chain: Chain) -> range:
        """The numbers of a chain's blocks; every stream depends on them."""
        own = self.study.effective_budget.blocks
        return range(own, own + chain.fresh) if chain.fresh else range(own)

    def course(
        self,
        factor: str,
        regime: str,
        tasks: Sequence[str],
        margins: Iterable[Margin],
        confirmed: Iterable[Evaluation],
    ) -> RaceProgress:
        """How far the race of one row has come.

        Args:
            factor: the row's question,
            regime: and regime.
            tasks: that are judged there, of the plan.
            margins: of all task-regimes.
            confirmed: its confirm evaluations so far.
        """
        return race_progress_of(
            self.question(factor),
            tasks=tasks,
            families=[self.facts[task].family for task in tasks],
            margins={m.task: m for m in margins if m.regime == regime and m.accepted},
            budget=self.study.effective_budget,
            confirmed=confirmed,
        )

    def families(self, factor: str) -> int:
        """Task families that a question is judged on, where so many are declared and trainable."""
        if self.question(factor).control:
            return min(self.study.families, control_arms.FAMILIES)
        return self.study.families

    def background(self, task: str, regime: str) -> dict[str, str]:
        """Factor -> level on this task for every factor that is in the background or asked.

        Tasks declared at even places (the first is 0) get the first listed level. The others draw one,
        every listed level once in each round of draws: a plain draw would leave a level out by chance.
        The same for all levels of a question and all blocks, and for all regimes that list the same levels.
        An asked factor without a list of its own sits at the framework's default while others are asked.
        """
        place = self.study.tasks.index(task)
        usual = framework_levels()
        chosen = {asked.name: usual[asked.name] for asked in self.study.understood if asked.kind == "factor"}
        for factor, levels in self.study.spec.backgrounds(regime).items():
            turn, at = divmod(place // 2, len(levels))
            order = stream(self.study.root, "background", factor, turn).permutation(len(levels))
            chosen[factor] = levels[0 if place % 2 == 0 else int(order[at])]
        return taken(chosen, self.unhonoured[task])

    def config(self, chain: Chain, level: str, numbers: Mapping[str, float] | None = None) -> Config:
        """One point of a cell: `numbers` over the library defaults of everything that is open.

        Args:
            chain: the question, the task and the regime.
            level: of the question.
            numbers: nuisance number or whole-numbered setting -> value.
        """
        at, tuned = self._point(chain, level), dict(numbers or {})
        settings = {name: int(tuned.pop(name)) for name in SETTING_NAMES if name in tuned}
        return complete(
            at.levels,
            {**at.numbers, **tuned},
            setting=Setting(**{**at.setting, **settings}),
            base=framework_levels(),
        )

    def searched(self, chain: Chain, level: str) -> dict[str, Range]:
        """The nuisance numbers that are open at this level and the searched settings, in name order."""
        return searched(self.study.spec, self._point(chain, level))

    def settings(self, factor: str, regime: str) -> tuple[Setting, ...]:
        """The setting of every level of a question in one regime; of the pilot ('') the regime's own."""
        if not factor:
            return (self.study.settings(regime),)
        usual, question = vars(self.study.settings(regime)), self.question(factor)
        return tuple(Setting(**{**usual, **question.change(level).setting}) for level in question.levels)

    def candidates(self, factor: str) -> tuple[str, ...]:
        """The declared tasks on which everything that the question varies can be varied."""
        return tuple(task for task in self.study.tasks if not self.untaken(factor, task))

    def untaken(self, factor: str, task: str) -> tuple[str, ...]:
        """What the question varies and the task's own network does not take; () where it has none.

        A number is not taken where the level that opens it is not.
        """
        missing = self.unhonoured[task]
        if not missing:
            return ()
        untaken: dict[str, None] = {}
        question = self.question(factor)
        for regime, level in itertools.product(question.regimes, question.levels):
            change = question.change(level)
            words = [*change.levels, *change.setting, *(f"{f}={to}" for f, to in change.levels.items())]
            untaken |= dict.fromkeys(word for word in words if word in missing)
            spans = open_ranges(self._point(Chain(factor=factor, task=task, regime=regime), level).levels)
            untaken |= dict.fromkeys(name for name in change.numbers if name not in spans)
        return tuple(untaken)

    def pilot(self, task: str, regime: str) -> list[Member]:
        """The members of the pilot of one task in one regime."""
        study = self.study
        return pilot_members(
            study.study, task, regime, study.settings(regime), self.unhonoured[task], root=study.root
        )

    def unpiloted(self, margins: Mapping[tuple[str, str], Margin]) -> list[tuple[str, str]]:
        """(task, regime) pairs that need a pilot, given those that have one.

        The declared order is walked until so many families are accepted or still open; a rejected
        task is replaced by the next. The final set does not depend on the order of completion.
        """
        wanted = {
            (task, regime): None
            for question in self.study.asked
            for regime in question.regimes
            for task in self.hoped(question.factor, regime, margins)
        }
        return [pair for pair in wanted if pair not in margins]

    def hoped(self, factor: str, regime: str, margins: Mapping[tuple[str, str], Margin]) -> tuple[str, ...]:
        """The tasks that would be judged if everything without a margin were accepted."""
        refused = {task for (task, where), m in margins.items() if where == regime and not m.accepted}
        tasks = (task for task in self.candidates(factor) if task not in refused)
        return family_prefix(tasks, self.facts, self.families(factor))

    def judged(self, factor: str, regime: str, margins: Mapping[tuple[str, str], Margin]) -> tuple[str, ...]:
        """The tasks that are judged: the accepted ones, up to the families of the budget."""
        accepted = {task for (task, where), m in margins.items() if where == regime and m.accepted}
        tasks = (task for task in self.candidates(factor) if task in accepted)
        return family_prefix(tasks, self.facts, self.families(factor))

    def _point(self, chain: Chain, level: str) -> Overrides:
        return point(
            self.study.spec,
            regime=chain.regime,
            background=self.background(chain.task, chain.regime),
            change=self.question(chain.factor).change(level),
            unhonoured=self.unhonoured[chain.task],
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Protocol and margins: frozen, hashed and recorded before the first retune member."""

    protocol: ComparisonProtocol
    margins: tuple[Margin, ...]
    """Of every task-regime that was piloted, in declared order."""

    @cached_property
    def tasks(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Factor -> regime -> the tasks judged, in declared order."""
        by_pair = {(m.task, m.regime): m for m in self.margins}
        return {
            q.factor: {regime: self.protocol.judged(q.factor, regime, by_pair) for regime in q.regimes}
            for q in self.protocol.study.asked
        }

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """What is retuned, promoted and confirmed if no race ends early and no level is dropped."""
        return tuple(
            Chain(factor=factor, task=task, regime=regime)
            for factor, regimes in self.tasks.items()
            for regime, tasks in regimes.items()
            for task in tasks
        )

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "protocol": self.protocol.hash,
            "margins": [asdict(margin) for margin in self.margins],
            "tasks": {f: {r: list(tasks) for r, tasks in by.items()} for f, by in self.tasks.items()},
        }

    @cached_property
    def hash(self) -> str:
        return digest(self.plain())


def family_prefix(tasks: Iterable[str], facts: Mapping[str, TaskFacts], families: int) -> tuple[str, ...]:
    """The shortest prefix of the tasks that has so many families; all of them where there are fewer."""
    prefix: list[str] = []
    seen: set[str] = set()
    for task in tasks:
        if len(seen) == families:
            break
        seen.add(facts[task].family)
        prefix.append(task)
    return tuple(prefix)


def chains_of(factor: str, regime: str, cells: Cells) -> list[Chain]:
    """The chains that train these levels on these tasks."""
    return [Chain(factor=factor, task=task, regime=regime, levels=levels) for task, levels in cells.items()]


def comparison_protocol(study: ResolvedStudy, book: TaskBook) -> ComparisonProtocol:
    """Builds every declared task once, for its facts.

    Raises:
        SpecError: a task that is neither shipped nor the user's, or cannot be built.
    """
    for name in study.tasks:
        if name not in book:
            rule = f"{unknown('task', name, book)} (add your own with --tasks-from FILE.py)"
            raise SpecError(study.file, "tasks", rule)
    tasks = {name: built(study.file, book, name) for name in study.tasks}
    return ComparisonProtocol(
        study=study,
        facts={
            name: facts_of(task, study.root, [study.settings(regime) for regime in study.regimes])
            for name, task in tasks.items()
        },
        unhonoured={name: unhonoured(task) for name, task in tasks.items()},
    )


def built(file: str, book: TaskBook, name: str) -> Task:
    """The task; SpecError where it cannot be built."""
    try:
        return book[name]()
    except ValueError as error:
        raise SpecError(file, "tasks", str(error)) from None


def facts_of(task: Task, study: str, settings: Iterable[Setting]) -> TaskFacts:
    """What a page says about a task that is trained at these settings."""
    return TaskFacts(
        name=task.name,
        family=task.family,
        real=task.real,
        kind=task.kind,
        metric=task.metric,
        items=len(task.y),
        features=task.n_inputs,
        n_test=len(task.split(study, 0).test),
        licence=task.licence,
        source=task.source,
        content_hash=task.content_hash,
        network=network_facts(task, settings),
    )


def unhonoured(task: Task) -> frozenset[str]:
    """What a task's own network does not take from the config: factors, levels and settings."""
    if task.network is None:
        return frozenset()
    scaled = {"input_scaling"} if task.inputs == "tokens" else set()
    return (HONOURED - task.honours) | ONLY_OURS | {"network"} | scaled
