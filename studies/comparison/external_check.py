"""The external check of a study: what is frozen before it, on which tasks it runs, and what it trains.

After the last confirmation the verdicts are frozen. Then the recipe they make together, the textbook's and
the framework's are retuned, and trained as they stand, on task families that nothing has touched, not even
the pilot (method.md 2.3, P4). `reports.verdicts.external_check` judges what comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reports.evidence.budget import ARMS, EXTERNAL, Margin
from reports.evidence.question import Question
from reports.evidence.study_record import ExternalRecord, StudyRecord
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_NAMES, Config, Setting, digest
from search_spaces.factor import Range
from search_spaces.overrides import Overrides
from search_spaces.space import complete, framework_levels, open_ranges
from studies.comparison.protocol import Chain, Protocol
from studies.spec.design_points import searched
from studies.spec.resolved import ResolvedStudy
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from reports.defaults.schema import Defaults, Recipe

VERDICTS, PLAN = "verdicts", "external"
"""What is frozen, in this order, each with its hash: before the first external member, and before the first
that is not of its pilot."""


@dataclass(frozen=True, kw_only=True)
class WholeRecipe:
    """One complete recipe of one regime."""

    levels: Mapping[str, str]
    numbers: Mapping[str, float]
    """All that the levels open; of those that are tuned, where trial 0 stands."""
    held: tuple[str, ...]
    """The numbers that are not tuned."""
    setting: Setting

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**asdict(self), "held": list(self.held), "setting": self.setting.plain()}

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> WholeRecipe:
        """The inverse of `plain`."""
        return WholeRecipe(**{**data, "held": tuple(data["held"]), "setting": Setting(**data["setting"])})


@dataclass(frozen=True, kw_only=True)
class FrozenRecipes:
    """The verdicts and the recipes they make, as they stood when the last confirmation was in."""

    plan: str
    """The hash of the plan they come from."""
    verdicts: tuple[Mapping[str, str], ...]
    """Factor, regime, recommended, decided_by and label of every row."""
    recipes: Mapping[str, Mapping[str, WholeRecipe]]
    """Regime -> arm -> recipe."""

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "plan": self.plan,
            "comparison": "the recommended recipe against the textbook's, both retuned with one budget",
            "verdicts": [dict(verdict) for verdict in self.verdicts],
            "recipes": {
                regime: {arm: whole.plain() for arm, whole in arms.items()}
                for regime, arms in self.recipes.items()
            },
        }

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> FrozenRecipes:
        """The inverse of `plain`."""
        return FrozenRecipes(
            plan=data["plan"],
            verdicts=tuple(data["verdicts"]),
            recipes={
                regime: {arm: WholeRecipe.from_plain(whole) for arm, whole in arms.items()}
                for regime, arms in data["recipes"].items()
            },
        )

    @cached_property
    def hash(self) -> str:
        return digest(self.plain())


@dataclass(frozen=True, kw_only=True)
class ExternalCheck:
    """What is trained in the external check; chains and agendas ask it what they ask a `Protocol`."""

    base: Protocol
    frozen: FrozenRecipes
    touched: frozenset[str]
    """Families that took part in anything earlier."""

    @property
    def spec(self) -> ResolvedStudy:
        """The study."""
        return self.base.spec

    @property
    def positions(self) -> Mapping[str, Mapping[str, int]]:
        """As `Protocol.positions`."""
        return {"": self.base.positions[""], EXTERNAL: {arm: i for i, arm in enumerate(ARMS)}}

    def question(self, factor: str) -> Question:
        """The three recipes as the levels of one question."""
        assert factor == EXTERNAL
        order = {arm: i for i, arm in enumerate(ARMS)}
        return Question(
            factor=factor, levels=ARMS, regimes=tuple(self.frozen.recipes), cost=order, textbook={}
        )

    def levels_of(self, factor: str) -> tuple[str, ...]:
        """The arms."""
        return self.question(factor).levels

    def trained(self, chain: Chain) -> tuple[str, ...]:
        """As `Protocol.trained`: all arms, for nothing races here."""
        return self.levels_of(chain.factor)

    def blocks(self, chain: Chain) -> range:
        """As `Protocol.blocks`."""
        return self.base.blocks(chain)

    def config(self, chain: Chain, level: str, numbers: Mapping[str, float] | None = None) -> Config:
        """One point of an arm: `numbers` over those it stands at."""
        whole, tuned = self.frozen.recipes[chain.regime][level], dict(numbers or {})
        setting: dict[str, Any] = {n: int(tuned.pop(n)) for n in SETTING_NAMES if n in tuned}
        return complete(whole.levels, {**whole.numbers, **tuned}, setting=replace(whole.setting, **setting))

    def searched(self, chain: Chain, level: str) -> dict[str, Range]:
        """What is tuned in an arm; trial 0 is where its recipe stands."""
        whole = self.frozen.recipes[chain.regime][level]
        held = {name: whole.numbers[name] for name in whole.held}
        spans = searched(
            self.spec.spec, Overrides(levels=whole.levels, numbers=held, setting=whole.setting.plain())
        )
        return {
            name: replace(span, default=float(whole.numbers.get(name, span.default)))
            for name, span in spans.items()
        }

    def unpiloted(self, margins: Mapping[tuple[str, str], Margin]) -> list[tuple[str, str]]:
        """(task, regime) pairs that need a pilot, given those that have one."""
        return [
            (task, regime)
            for regime in self.frozen.recipes
            for task in self.hoped(regime, margins)
            if (task, regime) not in margins
        ]

    def hoped(self, regime: str, margins: Mapping[tuple[str, str], Margin]) -> tuple[str, ...]:
        """The tasks that would be used if everything without a margin were accepted."""
        refused = {task for (task, where), m in margins.items() if where == regime and not m.accepted}
        return prefix(self.base, (t for t in reserves(self.base, self.touched) if t not in refused))

    def judged(self, regime: str, margins: Mapping[tuple[str, str], Margin]) -> tuple[str, ...]:
        """The tasks that are used: the accepted ones, up to the families asked for."""
        accepted = {task for (task, where), m in margins.items() if where == regime and m.accepted}
        return prefix(self.base, (t for t in reserves(self.base, self.touched) if t in accepted))

    def plan(self, margins: Mapping[tuple[str, str], Margin]) -> dict[str, Any]:
        """Tasks and margins, as they are hashed before the first member that is not of the pilot."""
        own = [m for (task, _), m in margins.items() if self.base.facts[task].family not in self.touched]
        order = {task: place for place, task in enumerate(self.spec.tasks)}
        own.sort(key=lambda m: (order[m.task], m.regime))
        return {
            "verdicts": self.frozen.hash,
            "tasks": {regime: list(self.judged(regime, margins)) for regime in self.frozen.recipes},
            "margins": [asdict(margin) for margin in own],
        }


def external_of(base: Protocol, frozen: FrozenRecipes, margins: Iterable[Margin]) -> ExternalCheck:
    """The external check of a study.

    Args:
        base: its protocol.
        frozen: what was concluded.
        margins: of its plan: of every task that was piloted for the rows.
    """
    touched = frozenset(base.facts[margin.task].family for margin in margins)
    return ExternalCheck(base=base, frozen=frozen, touched=touched)


def reserves(base: Protocol, touched: Collection[str]) -> list[str]:
    """The declared tasks of families that nothing has touched, but for those with networks of their own."""
    return [
        task
        for task in base.spec.tasks
        if base.facts[task].family not in touched and not base.unhonoured[task]
    ]


def prefix(base: Protocol, tasks: Iterable[str]) -> tuple[str, ...]:
    """The shortest prefix that has all the families asked for."""
    found: list[str] = []
    families: set[str] = set()
    for task in tasks:
        if len(families) == base.spec.external:
            break
        families.add(base.facts[task].family)
        found.append(task)
    return tuple(found)


def chains(tasks: Mapping[str, Sequence[str]]) -> list[Chain]:
    """Regime -> tasks, as chains."""
    return [
        Chain(factor=EXTERNAL, task=task, regime=regime) for regime, names in tasks.items() for task in names
    ]


def hoped_before(base: Protocol, margins: Mapping[tuple[str, str], Margin]) -> list[Chain]:
    """What will be run as far as is known before anything is frozen; margins: those there are by now."""
    if not base.spec.external:
        return []
    wanted = {task for task, _ in margins}
    for question in base.spec.asked:
        for regime in question.regimes:
            wanted |= set(base.hoped(question.factor, regime, margins))
    touched = {base.facts[task].family for task in wanted}
    tasks = prefix(base, reserves(base, touched))
    return chains(dict.fromkeys(base.spec.regimes, tasks))


def freeze(base: Protocol, record: StudyRecord) -> FrozenRecipes:
    """The verdicts of a study whose rows are complete, and the recipes they make.

    Raises:
        ValueError: it may not carry verdicts, or one of the recipes cannot be built.
    """
    from reports.defaults.defaults_file import defaults  # what export would say now
    from reports.verdicts.verdict import verdicts

    table = defaults(record, verdicts(record))
    names = ("factor", "regime", "recommended", "decided_by")
    return FrozenRecipes(
        plan=record.plan_hash,
        verdicts=tuple(
            {**{name: str(getattr(row, name)) for name in names}, "label": row.verdict} for row in table.rows
        ),
        recipes={recipe.regime: _arms(base, table, recipe) for recipe in table.recipes},
    )


def _arms(base: Protocol, table: Defaults, recipe: Recipe) -> dict[str, WholeRecipe]:
    """The three recipes of one regime: what nobody asked about is the same in the first two."""
    spec = base.spec
    stated = {*spec.spec.stated.numbers, *spec.spec.change(recipe.regime).numbers}
    for question in spec.asked:
        if not question.control:
            stated |= {name for level in question.levels for name in question.change(level).numbers}
    book = {
        row.factor: row.recommended if row.recommended in row.textbook else row.textbook[0]
        for row in table.rows
        if row.regime == recipe.regime and row.factor in FACTORS and row.textbook
    }
    usual = vars(spec.settings(recipe.regime))
    tuned = {name: usual[name] for name in spec.nuisance if name in SETTING_NAMES}

    def whole(levels: Mapping[str, str], numbers: Mapping[str, float], setting: Setting) -> WholeRecipe:
        spans = open_ranges(levels)
        fitting = {n: v for n, v in numbers.items() if n in spans and spans[n].low <= v <= spans[n].high}
        config = complete(levels, fitting, setting=setting)
        held = tuple(sorted(stated & set(config.numbers)))
        return WholeRecipe(levels=config.levels, numbers=config.numbers, held=held, setting=setting)

    fixed = {name: value for name, value in recipe.numbers.items() if name in stated}
    as_usual = replace(recipe.setting, **tuned)
    return {
        "recommended": whole(recipe.levels, recipe.numbers, recipe.setting),
        "textbook": whole({**recipe.levels, **book}, fixed, as_usual),
        "framework": whole(framework_levels(), fixed, as_usual),
    }


def external_record(
    base: Protocol,
    parts: Mapping[str, tuple[str, Mapping[str, Any]]],
    evaluations: Iterable[Evaluation],
    planned: Mapping[str, int],
) -> ExternalRecord:
    """The external check as reports see it.

    Args:
        base: the study.
        parts: what is frozen: part -> hash and content, `VERDICTS` among them.
        evaluations: of the check, its pilots left out.
        planned: phase -> members of its chains; {} while these are not known.
    """
    hashed, said = parts[VERDICTS]
    frozen = FrozenRecipes.from_plain(said)
    plan_hash, plan = parts.get(PLAN, ("", {"tasks": {}, "margins": []}))
    return ExternalRecord(
        verdicts_hash=hashed,
        plan_hash=plan_hash,
        families=base.spec.external,
        verdicts={(v["factor"], v["regime"]): v["recommended"] for v in frozen.verdicts},
        recipes={
            regime: {
                arm: Overrides(levels=w.levels, numbers={name: w.numbers[name] for name in w.held})
                for arm, w in arms.items()
            }
            for regime, arms in frozen.recipes.items()
        },
        tasks={regime: tuple(names) for regime, names in plan["tasks"].items()},
        margins=tuple(Margin(**margin) for margin in plan["margins"]),
        planned=planned,
        evaluations=tuple(evaluations),
    )
