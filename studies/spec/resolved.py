"""A study file with all that follows from it: its questions, claims and controls, defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from reports.evidence.budget import Budget
from reports.evidence.claim import Claim
from reports.evidence.question import Question
from search_spaces.config import Setting
from search_spaces.overrides import Overrides
from search_spaces.space import open_ranges
from studies.spec import control_arms
from studies.spec.claims import parse_claims
from studies.spec.design_points import design_points
from studies.spec.questions import ParsedQuestion
from studies.spec.sections import ExtendsSpec, Profile, RangeSpec, Sampler
from studies.spec.study_spec import StudySpec
from studies.spec.tracking_detail import Detail
from trainers.diagnostics.names import Recorded


@dataclass(frozen=True, kw_only=True)
class ResolvedStudy:
    """What plans, runs and reports a guideline study; `studies.spec.load.load` makes it, once."""

    spec: StudySpec
    """The checked file, as it was parsed."""

    # What the file states, under its own keys.

    @property
    def study(self) -> str:
        """The study's name."""
        return self.spec.study

    @property
    def kind(self) -> Literal["guideline"]:
        """As in the file; `search` is `studies.search.spec`."""
        return self.spec.kind

    @property
    def title(self) -> str:
        """For the page; '' where the file gives none."""
        return self.spec.title

    @property
    def file(self) -> str:
        """Where it was read from, for messages."""
        return self.spec.file

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names, in declared order."""
        return self.spec.tasks

    @property
    def regimes(self) -> tuple[str, ...]:
        """Names, in declared order."""
        return tuple(self.spec.regimes)

    @property
    def nuisance(self) -> Mapping[str, RangeSpec | None]:
        """Number or whole-numbered setting that is tuned -> its own limits; None: the catalogue's."""
        return self.spec.nuisance

    @property
    def profile(self) -> Profile:
        """The budget's name."""
        return self.spec.budget.profile

    @property
    def sampler(self) -> Sampler:
        """Of the retune phase."""
        return self.spec.sampler

    @property
    def pack_size(self) -> int:
        """Members of a pack at most."""
        return self.spec.pack_size

    @property
    def alpha(self) -> float:
        """Significance level of each question's tests."""
        return self.spec.alpha

    @property
    def extends(self) -> ExtendsSpec | None:
        """The study that this one extends; None for a study of its own."""
        return self.spec.extends

    @property
    def diagnostics(self) -> Recorded:
        """Which members have training diagnostics recorded; not hashed."""
        return self.spec.diagnostics

    @property
    def tracking(self) -> Detail:
        """How much MLflow shows; not hashed."""
        return self.spec.tracking

    # What follows from it.

    @property
    def understood(self) -> tuple[ParsedQuestion, ...]:
        """The questions, read with the catalogue."""
        return self.spec.understood

    @property
    def root(self) -> str:
        """The name that keys streams, designs and data splits (`StudySpec.root`)."""
        return self.spec.root

    @property
    def effective_budget(self) -> Budget:
        """The profile with this study's own numbers."""
        return self.spec.effective_budget

    @property
    def families(self) -> int:
        """Task families judged in each regime, where so many are declared and trainable."""
        return self.spec.families

    @property
    def external(self) -> int:
        """Task families of the external check; 0: there is none."""
        return self.spec.external

    @property
    def held(self) -> dict[str, str]:
        """Factor -> level for every factor that nothing varies (`StudySpec.held`)."""
        return self.spec.held

    def settings(self, regime: str) -> Setting:
        """The complete setting of one regime, before a question's level changes it."""
        return self.spec.settings(regime)

    @cached_property
    def claimed(self) -> tuple[Claim, ...]:
        """The claims, read with the questions and regimes.

        Raises:
            SpecError: a claim that this study could not judge.
        """
        return parse_claims(self.spec)

    @cached_property
    def asked(self) -> tuple[Question, ...]:
        """The questions with the textbook's and the catalogue's part filled in, then the controls."""
        questions = tuple(
            Question(
                factor=asked.name,
                levels=tuple(asked.changes),
                regimes=self.regimes,
                cost=asked.cost(self._usual(asked)),
                textbook={r: asked.textbook(self.settings(r).depth) for r in self.regimes},
                changes=asked.changes,
                alpha=self.alpha,
            )
            for asked in self.understood
        )
        return (*questions, *control_arms.controls(self.spec))

    def _usual(self, asked: ParsedQuestion) -> float | None:
        """The library default of the number that is asked, at the first place where it is."""
        if asked.kind != "number":
            return None
        first = next(place for place in design_points(self.spec) if place.factor == asked.name)
        span = open_ranges(first.point.levels).get(asked.name)
        return None if span is None else span.default  # a number that no level opens is refused by the rules

    def resolved(self) -> dict[str, Any]:
        """Everything that holds, defaults included, as JSON-ready data: what the protocol hashes."""
        # The names of a factor's levels are all there is to hash.
        stated = {a.name: {"said": a.said()} if a.kind != "factor" else {} for a in self.understood}
        questions = [
            {**{k: v for k, v in asdict(q).items() if k != "changes"}, **stated[q.factor]}
            for q in self.asked
            if not q.control
        ]
        everything = {
            "study": self.study,
            "title": self.title,
            "questions": questions,
            "regimes": {
                regime: {**asdict(self.settings(regime)), **self.spec.change(regime).words()}
                for regime in self.regimes
            },
            "fixed": Overrides(levels=self.held, numbers=self.spec.stated.numbers).words(),
            "background": self.spec.background,
            **({"background_in": self.spec.background_in} if self.spec.background_in else {}),
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
        if controls := control_arms.controlled(self.spec):
            everything["controls"] = {"kinds": controls.kinds, "regimes": control_arms.regimes(self.spec)}
        if self.extends:
            everything["extends"] = self.extends.model_dump()
        if self.spec.claims:  # the protocol of a study without claims is what it was before there were any
            everything["claims"] = [claim.plain() for claim in self.claimed]
        plain: dict[str, Any] = plain_data(everything)
        return plain


def plain_data(value: Any) -> Any:
    """Mappings and lists of scalars: what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return value
