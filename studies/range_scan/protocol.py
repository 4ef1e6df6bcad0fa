"""What a scope trains: every level of a study's questions, searched widely on tasks that are never judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from reports.evidence.budget import TaskFacts
from search_spaces.config import digest
from search_spaces.factor import unknown
from studies.comparison.pilot import pilot_members
from studies.comparison.protocol import Chain, ComparisonProtocol, built, comparison_protocol
from studies.comparison.record import protocol_of
from studies.ledger.ledger import Ledger, StudyRow
from studies.search.optuna_study import FEWEST
from studies.spec.errors import SpecError, unique
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from trainers.member import Member
from trainers.tasks import FAMILIES, ROLES
from trainers.tasks.task import TaskBook

KIND = "scope"
SUFFIX = ".scope"
"""What a scope is called in the ledger: the study's name, and this."""

POINTS = 32
TASKS = 3


@dataclass(frozen=True, kw_only=True)
class RangeScanSpec:
    """The study file as a scope trains it: on other tasks, with one block and a wide search."""

    wide: ResolvedStudy
    """Named after the study; without claims, controls and an external check."""
    kind: ClassVar = KIND

    @property
    def study(self) -> str:
        """Its name in the ledger."""
        return self.wide.study


@dataclass(frozen=True, kw_only=True)
class RangeScanProtocol:
    """What is fixed before the first member of a scope."""

    fixed: ComparisonProtocol
    started_as: str = ""
    """The hash under which a ledger has this very scope; earlier versions hashed it in another form."""

    @property
    def study(self) -> ResolvedStudy:
        """The study file as it is trained."""
        return self.fixed.study

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The pilot of every task and regime, then every question on every task in every regime."""
        spec, tasks = self.study, self.study.tasks
        return (
            *(Chain(factor="", task=task, regime=regime) for regime in spec.regimes for task in tasks),
            *(
                Chain(factor=question.factor, task=task, regime=regime)
                for question in spec.asked
                for regime in question.regimes
                for task in self.fixed.candidates(question.factor)
            ),
        )

    def pilot(self, chain: Chain) -> list[Member]:
        """The members of one task-regime's pilot."""
        spec = self.study
        setting, untaken = spec.settings(chain.regime), self.fixed.unhonoured[chain.task]
        return pilot_members(spec.study, chain.task, chain.regime, setting, untaken)

    def size(self, chain: Chain) -> int:
        """Members of a chain."""
        if not chain.factor:
            return len(self.pilot(chain))
        return len(self.fixed.trained(chain)) * (1 + self.study.effective_budget.trials)

    @property
    def task_facts(self) -> tuple[TaskFacts, ...]:
        """Of every task, in declared order."""
        return self.fixed.task_facts

    def with_task_facts(self, facts: Iterable[TaskFacts]) -> RangeScanProtocol:
        """The same with other facts of the same tasks."""
        return replace(self, fixed=self.fixed.with_task_facts(facts))

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data; the kind says that no verdict may ever be read from it."""
        plain = self.fixed.plain()
        return {**plain, "spec": {**plain["spec"], "kind": KIND}}

    @cached_property
    def hash(self) -> str:
        return self.started_as or digest(self.plain())


def scope_of(
    study: ResolvedStudy, book: TaskBook, *, tasks: Sequence[str] | None = None, points: int = POINTS
) -> RangeScanSpec:
    """The scope of a study.

    Args:
        study: whose ranges are in question.
        book: builds the tasks.
        tasks: to look at; None: the first development tasks of families that the study does not declare.
        points: of the design, for every level on every task, besides the library default.

    Raises:
        SpecError: too few points, or a task that is unknown, is kept for evidence, or is of a family of the
            study's.
    """
    if points < FEWEST:
        raise SpecError(study.file, "--points", f"{points} are too few to say anything: at least {FEWEST}")
    chosen = _free(study, book)[:TASKS] if tasks is None else tuple(tasks)
    if not chosen:
        rule = "the study declares every development task: name some of your own with --tasks NAME,..."
        raise SpecError(study.file, "tasks", rule)
    unique(study.file, "--tasks", chosen)
    for name in chosen:
        _check(study, book, name)
    budget = {"families": len(chosen), "blocks": 1, "trials": points, "promoted": 1}
    own = study.spec.model_dump(exclude_unset=True, exclude={"claims", "extends"})
    wide = {
        "study": f"{study.study}{SUFFIX}",
        "tasks": chosen,
        "sampler": "sobol",
        "controls": False,
        "budget": {**budget, "profile": "quick"},
    }
    return RangeScanSpec(wide=parse({**own, **wide}, file=study.file))


def scope_protocol(scope: RangeScanSpec, book: TaskBook) -> RangeScanProtocol:
    """Builds the tasks once, for their facts; SpecError where one cannot be built."""
    return RangeScanProtocol(fixed=comparison_protocol(scope.wide, book))


def recorded_range_scan(row: StudyRow) -> RangeScanProtocol:
    """The protocol that a ledger keeps, as an object again."""
    return RangeScanProtocol(fixed=protocol_of(row.protocol))


def is_scope(row: StudyRow) -> bool:
    """Whether the ledger's study is a scope."""
    return bool(row.protocol["spec"].get("kind") == KIND)


def refuse_range_scan(study: ResolvedStudy, ledger: Ledger) -> None:
    """SpecError where a study would judge on a task by which its ranges were chosen in this workspace."""
    for name in dict.fromkeys((study.study, study.root)):
        row = ledger.find_study(f"{name}{SUFFIX}")
        if row is None or not is_scope(row):
            continue
        seen: Mapping[str, str] = {facts["name"]: facts["family"] for facts in row.protocol["facts"]}
        for task in study.tasks:
            if task in seen or FAMILIES.get(task) in seen.values():
                rule = f"'{task}' was looked at in {row.name}: what chose the ranges cannot judge the levels"
                raise SpecError(study.file, "tasks", rule)


def _free(study: ResolvedStudy, book: TaskBook) -> tuple[str, ...]:
    taken = _families(study, book)
    return tuple(
        name for name, role in ROLES.items() if role == "development" and FAMILIES[name] not in taken
    )


def _check(study: ResolvedStudy, book: TaskBook, name: str) -> None:
    if name not in book:
        raise SpecError(study.file, "--tasks", str(unknown("task", name, book)))
    role = ROLES.get(name, "development")
    if role != "development":
        rule = f"'{name}' is kept for evidence ({role}); a scope takes development tasks and your own: "
        allowed = [one for one in book if ROLES.get(one, "development") == "development"]
        raise SpecError(study.file, "--tasks", f"{rule}{', '.join(sorted(allowed))}")
    if built(study.file, book, name).family in _families(study, book):
        rule = f"'{name}' is of a family that the study declares: what chose its ranges cannot judge it"
        raise SpecError(study.file, "--tasks", rule)


def _families(study: ResolvedStudy, book: TaskBook) -> set[str]:
    """Of the tasks that the study declares."""
    return {
        FAMILIES[name] if name in FAMILIES else built(study.file, book, name).family
        for name in study.tasks
        if name in FAMILIES or name in book
    }
