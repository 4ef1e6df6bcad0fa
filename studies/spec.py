"""The study file: what to ask, where, on which tasks, at which budget. Data, never code.

A file is read once, checked against the catalogue and frozen; every mistake is one `SpecError` with
the file, the key, the rule and the allowed values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, Strict, ValidationError

from reports.budget import Budget
from reports.claimed import Claim
from reports.guards import FIXED_DESIGNS
from reports.question import Question
from search_spaces.change import Change
from search_spaces.config import Setting
from search_spaces.factor import unknown
from search_spaces.space import framework_levels, open_ranges
from studies import control_arms
from studies.mirroring.detail import Detail
from studies.points import places
from studies.study_file.asking import Asked, change_of, understood
from studies.study_file.claiming import understood_claims
from studies.study_file.mistakes import SpecError, unique
from studies.study_file.parts import (
    PROFILES,
    BudgetSpec,
    ClaimSpec,
    ControlsSpec,
    ExtendsSpec,
    Listed,
    Many,
    Name,
    Part,
    Profile,
    QuestionSpec,
    RangeSpec,
    Sampler,
    Text,
)
from studies.study_file.plain_yaml import read_plain
from studies.study_file.rules import check
from studies.study_file.wrong_shape import first_error
from trainers.diagnostics.names import Recorded

SPECS = Path(__file__).parent / "specs"


class StudySpec(Part):
    """A checked study file; `load` makes it."""

    kind: Literal["guideline"] = "guideline"
    """Levels are compared; a file that says `search` is read by `studies.searching.spec`."""
    study: Name
    """The study's name: streams, the ledger and the tracking store are keyed by it."""
    title: Annotated[Text, Field(max_length=500)] = ""
    questions: tuple[QuestionSpec, ...] = Field(min_length=1, max_length=100)
    claims: tuple[ClaimSpec, ...] = Field(default=(), max_length=100)
    """What texts say of these questions: fixed before training, judged after it."""
    regimes: dict[Name, dict[Text, Any]] = Field(min_length=1, max_length=100)
    """Regime -> what it changes: settings, levels and numbers."""
    setting: dict[Text, Any] = Field(default_factory=dict)
    """What all regimes share, over the defaults of `search_spaces.config.Setting`."""
    fixed: dict[Text, Any] = Field(default_factory=dict)
    """Levels and numbers held for everyone."""
    background: dict[Text, Listed] = Field(default_factory=dict)
    background_in: dict[Name, dict[Text, Listed]] = Field(default_factory=dict)
    """Regime -> factor -> levels that stand there in place of the background's: a textbook's recipe for deep
    networks is another than that for shallow ones."""
    nuisance: dict[Text, RangeSpec | None] = Field(default={"learning_rate": None})
    """Number -> its own limits, or None for the catalogue's; whole-numbered setting -> its limits."""
    tasks: tuple[Name, ...] = Field(min_length=1, max_length=1000)
    budget: BudgetSpec = BudgetSpec()
    controls: ControlsSpec | None = None
    """In a file also `true` (all of them) or `false`; not said, it is the profile that decides."""
    extends: ExtendsSpec | None = None
    """None for a study of its own."""
    sampler: Sampler = "sobol"
    pack_size: Many = 64
    alpha: Annotated[float, Strict(), Field(gt=0, lt=0.5)] = 0.05
    diagnostics: Recorded = "evidence"
    """Of whose inside something is recorded. It changes no result, so it is no part of the protocol: a
    study may be resumed with another value."""
    tracking: Detail = "members"
    """How much MLflow shows; no part of the protocol either."""

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
    def understood(self) -> tuple[Asked, ...]:
        """The questions, read with the catalogue.

        Raises:
            SpecError: a name, level or value that it does not know.
        """
        return tuple(
            understood(q.factor, q.levels, file=self.file, key=f"questions[{i}]")
            for i, q in enumerate(self.questions)
        )

    @cached_property
    def claimed(self) -> tuple[Claim, ...]:
        """The claims, read with the questions and regimes.

        Raises:
            SpecError: a claim that this study could not judge.
        """
        return understood_claims(self)

    @cached_property
    def stated(self) -> Change:
        """What is fixed for everyone, as the file states it."""
        return change_of(self.fixed, file=self.file, key="fixed")

    @cached_property
    def _regimes(self) -> dict[str, Change]:
        return {
            name: change_of(said, file=self.file, key=f"regimes.{name}")
            for name, said in self.regimes.items()
        }

    def change(self, regime: str) -> Change:
        """What one regime changes."""
        return self._regimes[regime]

    def settings(self, regime: str) -> Setting:
        """The complete setting of one regime, before a question's level changes it."""
        return Setting(**{**self.setting, **self.change(regime).setting})

    def settings_of(self, point: Change) -> Setting:
        """The complete setting of a point."""
        return Setting(**point.setting)

    def backgrounds(self, regime: str) -> dict[str, tuple[str, ...]]:
        """Factor -> the levels of the background in one regime."""
        return {**self.background, **self.background_in.get(regime, {})}

    @cached_property
    def asked(self) -> tuple[Question, ...]:
        """The questions with the textbook's and the catalogue's part filled in, then the controls."""
        questions = tuple(
            Question(
                factor=asked.name,
                levels=tuple(asked.changes),
                regimes=tuple(self.regimes),
                cost=asked.cost(self._usual(asked)),
                textbook={r: asked.textbook(self.settings(r).depth) for r in self.regimes},
                changes=asked.changes,
                alpha=self.alpha,
            )
            for asked in self.understood
        )
        return (*questions, *control_arms.controls(self))

    @property
    def controlled(self) -> ControlsSpec | None:
        """The controls that are run; None: the study carries none."""
        if "controls" in self.model_fields_set:
            return self.controls
        return ControlsSpec() if self.budget.profile in control_arms.PROFILES else None

    def _usual(self, asked: Asked) -> float | None:
        """The library default of the number that is asked, at the first place where it is."""
        if asked.kind != "number":
            return None
        first = next(place for place in places(self) if place.factor == asked.name)
        span = open_ranges(first.point.levels).get(asked.name)
        return None if span is None else span.default  # a number that no level opens is refused by the rules

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
        judged = self.sampler in FIXED_DESIGNS and any(any(q.textbook.values()) for q in self.asked)
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

    def with_profile(self, profile: Profile) -> StudySpec:
        """The same study at another profile; numbers the file states itself stay.

        Raises:
            SpecError: as `load`.
        """
        if profile not in PROFILES:
            raise SpecError(self.file, "budget.profile", str(unknown("profile", profile, PROFILES)))
        budget = {**self.budget.model_dump(exclude_unset=True), "profile": profile}
        if self.budget.looks:  # of another profile's families; those beyond them stay beyond
            own, last = self.families, budget.get("families", PROFILES[profile]["families"])
            budget["looks"] = [look for look in self.budget.looks if look < last or look > max(own, last)]
        return parse({**self.model_dump(exclude_unset=True), "budget": budget}, file=self.file)

    def resolved(self) -> dict[str, Any]:
        """Everything that holds, defaults included, as JSON-ready data: what the protocol hashes."""
        # Of a factor the levels' names say it all.
        said = {a.name: {"said": a.said()} if a.kind != "factor" else {} for a in self.understood}
        questions = [
            {**{k: v for k, v in asdict(q).items() if k != "changes"}, **said[q.factor]}
            for q in self.asked
            if not q.control
        ]
        everything = {
            "study": self.study,
            "title": self.title,
            "questions": questions,
            "regimes": {
                regime: {**asdict(self.settings(regime)), **self.change(regime).words()}
                for regime in self.regimes
            },
            "fixed": Change(levels=self.held, numbers=self.stated.numbers).words(),
            "background": self.background,
            **({"background_in": self.background_in} if self.background_in else {}),
            "nuisance": {name: span.model_dump() if span else None for name, span in self.nuisance.items()},
            "tasks": self.tasks,
            "budget": {
                **asdict(self.effective_budget),
                "families": self.families,
                **({"external": self.external} if self.external else {}),
            },
            "sampler": self.sampler,
            "pack_size": self.pack_size,
            "alpha": self.alpha,
        }
        if said_of := self.controlled:
            everything["controls"] = {"kinds": said_of.kinds, "regimes": control_arms.regimes(self)}
        if self.extends:
            everything["extends"] = self.extends.model_dump()
        if self.claims:  # the protocol of a study without claims is what it was before there were any
            everything["claims"] = [claim.plain() for claim in self.claimed]
        plain: dict[str, Any] = plain_data(everything)
        return plain


def load(path_or_name: str | Path) -> StudySpec:
    """Reads the file of a guideline study, or one that ships (`load("quickstart")`).

    Raises:
        SpecError: no such file or name, or anything wrong in it.
    """
    return parse(read(path_or_name), file=str(path_or_name))


def read(path_or_name: str | Path) -> dict[str, Any]:
    """A study file's plain data, whatever kind of study it is.

    Raises:
        SpecError: no such file or name, or a file that is not plain YAML.
    """
    file = shipped().get(str(path_or_name), Path(path_or_name))
    name = str(path_or_name)
    if not file.is_file():
        rule = unknown("study file", name, shipped())
        raise SpecError(name, "", f"no such file, and {rule} ship with the package")
    return read_plain(file, name)


def shipped() -> dict[str, Path]:
    """Name -> file of the studies that come with the package."""
    return {file.stem: file for file in sorted(SPECS.glob("*.yaml"))}


def parse(data: Mapping[str, Any], *, file: str = "study") -> StudySpec:
    """A spec from plain data, checked against the catalogue; `file` is named in errors.

    Raises:
        SpecError: the first thing that is wrong.
    """
    data = dict(data)
    if isinstance(data.get("nuisance"), (list, tuple)):
        names = data["nuisance"]
        for name in names:
            if not isinstance(name, str):
                raise SpecError(file, "nuisance", f"{name!r} must be the name of a number")
        unique(file, "nuisance", names)
        data["nuisance"] = dict.fromkeys(names)
    if isinstance(data.get("controls"), bool):
        data["controls"] = {} if data["controls"] else None
    try:
        spec = StudySpec.model_validate(data)
    except ValidationError as error:
        raise first_error(error, file, StudySpec, _MODELS) from None
    spec._file = file
    if "nuisance" not in spec.model_fields_set and "learning_rate" in _stated_numbers(spec):
        return parse({**data, "nuisance": {}}, file=file)  # nobody asked for it to be tuned
    check(spec)
    return spec


def _stated_numbers(spec: StudySpec) -> set[str]:
    """Numbers that are fixed, belong to a regime, or are asked about."""
    changes = [spec.stated, *map(spec.change, spec.regimes)]
    asked = {asked.name for asked in spec.understood if asked.kind == "number"}
    return asked | {name for change in changes for name in change.numbers}


# From pydantic's errors to ours.

_MODELS: dict[str, type[BaseModel]] = {
    "questions": QuestionSpec,
    "claims": ClaimSpec,
    "budget": BudgetSpec,
    "nuisance": RangeSpec,
    "controls": ControlsSpec,
    "extends": ExtendsSpec,
}


def plain_data(value: Any) -> Any:
    """Mappings and lists of scalars: what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return value
