"""The study file: what to ask, where, on which tasks, at which budget. Data, never code.

Here is what the file states, and what is read off its own fields alone; `studies.spec.resolved` has what
follows from it. Every mistake is one `SpecError` with the file, the key, the rule and the allowed values.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, Strict

from reports.evidence.budget import Budget
from reports.evidence.fairness_checks import FIXED_DESIGNS
from search_spaces.config import Setting
from search_spaces.overrides import Overrides
from search_spaces.space import framework_levels
from studies.spec.questions import ParsedQuestion, change_of, parse_question
from studies.spec.sections import (
    BudgetSpec,
    ClaimSpec,
    ControlsSpec,
    ExtendsSpec,
    Listed,
    Many,
    Name,
    QuestionSpec,
    RangeSpec,
    Sampler,
    Section,
    Text,
)
from studies.spec.tracking_detail import Detail
from trainers.diagnostics.names import Recorded


class StudySpec(Section):
    """A checked study file; `studies.spec.load` makes it."""

    kind: Literal["guideline"] = "guideline"
    """Levels are compared and get a verdict; the other kind, `search`, looks for one good configuration."""
    study: Name
    """The study's name, 1 to 64 of `A-Z a-z 0-9 . _ -`. It keys random streams, the ledger and MLflow."""
    title: Annotated[Text, Field(max_length=500)] = ""
    """The heading of the report."""
    questions: tuple[QuestionSpec, ...] = Field(min_length=1, max_length=100)
    """What is compared: a list of `{factor, levels}`, each with its own verdicts."""
    claims: tuple[ClaimSpec, ...] = Field(default=(), max_length=100)
    """Statements from texts about these questions, fixed before training and judged after it."""
    regimes: dict[Name, dict[Text, Any]] = Field(min_length=1, max_length=100)
    """Name -> the settings, levels and numbers that the regime changes. Each regime gets its own verdict."""
    setting: dict[Text, Any] = Field(default_factory=dict)
    """The training setting that all regimes share, where it differs from the defaults."""
    fixed: dict[Text, Any] = Field(default_factory=dict)
    """Levels and numbers held for every level and regime; a factor that is not mentioned sits at PyTorch's
    default."""
    background: dict[Text, Listed] = Field(default_factory=dict)
    """Factor -> levels that differ between tasks, but not between the levels compared: the first one on tasks
    at even places, one drawn at random on the others."""
    background_in: dict[Name, dict[Text, Listed]] = Field(default_factory=dict)
    """Regime -> factor -> levels used there instead of the background's, because a textbook's recipe for deep
    networks differs from the one for shallow ones."""
    nuisance: dict[Text, RangeSpec | None] = Field(default={"learning_rate": None})
    """What is tuned for every level: a list of numbers, or `{name: {low, high}}` within the catalogue's
    limits; also whole-numbered settings, with limits."""
    tasks: tuple[Name, ...] = Field(min_length=1, max_length=1000)
    """Tasks in order of use: more than needed, because the pilot may replace some."""
    budget: BudgetSpec = BudgetSpec()
    """How much is spent: a profile, and where this study departs from it."""
    controls: ControlsSpec | None = None
    """Comparisons with a known answer, run beside the questions: `true`, `false` or a mapping; by default
    profiles standard and full have them."""
    extends: ExtendsSpec | None = None
    """The study that this one continues; `groundrules extend` writes it."""
    sampler: Sampler = "sobol"
    """Where the tuning points come from. `tpe` and `gp` adapt to results, so they never give a verdict."""
    pack_size: Many = 64
    """Members trained together as one stack, at most."""
    alpha: Annotated[float, Strict(), Field(gt=0, lt=0.5)] = 0.05
    """Accepted probability of a wrong recommendation."""
    diagnostics: Recorded = "evidence"
    """Which trainings record signals and gradients: those that verdicts rest on, all but the pilot's (`ends`,
    5 to 7 % slower) or none. It changes no result, and a resumed study may change it."""
    tracking: Detail = "members"
    """How much MLflow shows. It changes no result, and a resumed study may change it."""

    _file: str = PrivateAttr("study")

    @property
    def file(self) -> str:
        """Where it was read from, for messages."""
        return self._file

    @property
    def root(self) -> str:
        """The study whose name keys streams, designs and data splits: its own, or that of what it extends."""
        return self.extends.root if self.extends else self.study

    @cached_property
    def understood(self) -> tuple[ParsedQuestion, ...]:
        """The questions, read with the catalogue.

        Raises:
            SpecError: a name, level or value that it does not know.
        """
        return tuple(
            parse_question(q.factor, q.levels, file=self.file, key=f"questions[{i}]")
            for i, q in enumerate(self.questions)
        )

    @cached_property
    def stated(self) -> Overrides:
        """What is fixed for everyone, as the file states it."""
        return change_of(self.fixed, file=self.file, key="fixed")

    @cached_property
    def _regimes(self) -> dict[str, Overrides]:
        return {
            name: change_of(said, file=self.file, key=f"regimes.{name}")
            for name, said in self.regimes.items()
        }

    def change(self, regime: str) -> Overrides:
        """What one regime changes."""
        return self._regimes[regime]

    def settings(self, regime: str) -> Setting:
        """The complete setting of one regime, before a question's level changes it."""
        return Setting(**{**self.setting, **self.change(regime).setting})

    def settings_of(self, point: Overrides) -> Setting:
        """The complete setting of a point."""
        return Setting(**point.setting)

    def backgrounds(self, regime: str) -> dict[str, tuple[str, ...]]:
        """Factor -> the levels of the background in one regime."""
        return {**self.background, **self.background_in.get(regime, {})}

    @property
    def effective_budget(self) -> Budget:
        """The profile with this study's own numbers.

        An adaptive sampler gives no verdict, so that no level can be dropped by one: a single look.
        """
        b = self.budget
        return Budget(
            profile=b.profile,
            blocks=b.value("blocks"),
            trials=b.value("trials"),
            promoted=b.value("promoted"),
            promote_seeds=b.value("promote_seeds"),
            confirm_seeds=b.value("confirm_seeds"),
            looks=b.every_look if self.sampler in FIXED_DESIGNS else (self.families,),
            families=self.families,
        )

    @property
    def families(self) -> int:
        """Task families judged in each regime, where so many are declared and trainable."""
        return self.budget.value("families")

    @property
    def external(self) -> int:
        """Task families of the external check; 0: there is none.

        Without verdicts, or without a row of the textbook's, there is nothing to check.
        """
        depths = [self.settings(regime).depth for regime in self.regimes]
        textbook = any(question.textbook(depth) for question in self.understood for depth in depths)
        judged = textbook and self.sampler in FIXED_DESIGNS
        return self.budget.value("external") if judged else 0

    @property
    def held(self) -> dict[str, str]:
        """Factor -> level for every factor that is not asked, in the background, or changed by a regime.

        What the file does not fix sits at the framework's default level.
        """
        open_factors = {asked.name for asked in self.understood if asked.kind == "factor"}
        open_factors |= {*self.background, *(f for change in self._regimes.values() for f in change.levels)}
        levels = {**framework_levels(), **self.stated.levels}
        return {factor: level for factor, level in levels.items() if factor not in open_factors}
