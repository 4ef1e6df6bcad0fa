"""What stands below the keys of a guideline study's file: its questions, budget, claims and controls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, Strict

from reports.evidence.claim import Direction
from reports.evidence.question import CONTROL_KINDS, ControlKind
from studies.spec.pydantic_errors import HASH

PROFILES: dict[str, dict[str, int]] = {
    "quick": {
        "families": 8, "blocks": 4, "trials": 8, "promoted": 2, "promote_seeds": 1, "confirm_seeds": 2,
        "external": 0,
    },
    "standard": {
        "families": 16, "blocks": 4, "trials": 12, "promoted": 3, "promote_seeds": 2, "confirm_seeds": 2,
        "external": 0,
    },
    "full": {
        "families": 24, "blocks": 4, "trials": 16, "promoted": 4, "promote_seeds": 3, "confirm_seeds": 3,
        "external": 8,
    },
}  # fmt: skip
"""What each (task, block, level) gets, and on how many task families; external: on how many untouched ones
whole recipes are compared afterwards."""

LOOKS: dict[str, tuple[int, ...]] = {"quick": (), "standard": (8,), "full": (8, 16)}
"""Families after which a profile looks at its rows before the last one: the rows race (method.md 2.10)."""

Sampler = Literal["sobol", "random", "tpe", "gp"]
Profile = Literal["quick", "standard", "full"]

Text = Annotated[str, Strict()]
Name = Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Hash = Annotated[str, Strict(), Field(pattern=HASH)]

Listed = Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
Few = Annotated[int, Strict(), Field(ge=1, le=1000)]
Many = Annotated[int, Strict(), Field(ge=1, le=10_000)]


class Section(BaseModel):
    """A piece of a study file: unknown keys fail, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class QuestionSpec(Section):
    """One scientific factor and the levels compared; `StudySpec.understood` reads them."""

    factor: Text
    """A factor, a number or a setting, or a free name for combinations."""
    levels: Any
    """Level names or values, or named combinations (name -> levels, numbers and settings)."""


class RangeSpec(Section):
    """A nuisance number searched in a narrower range than the catalogue's, or a whole-numbered setting."""

    low: Number
    """The least value."""
    high: Number
    """The greatest value."""


class BudgetSpec(Section):
    """A profile, and where this study departs from it."""

    profile: Profile = "quick"
    """Where the numbers below come from unless they are given."""
    families: Few | None = None
    """Task families judged; with fewer than 8 the answer is about these tasks only."""
    blocks: Few | None = None
    """Data splits of every task, each with its own tuning."""
    trials: Many | None = None
    """Configurations tried for every level on every task and block."""
    promoted: Few | None = None
    """The best of them, by validation, that are trained again."""
    promote_seeds: Few | None = None
    """Seeds of each promoted configuration; the best mean is the tuned one."""
    confirm_seeds: Few | None = None
    """Fresh seeds of the tuned configuration: the only trainings that count as evidence."""
    looks: Annotated[tuple[Few, ...], Field(max_length=20)] | None = None
    """Numbers of families after which the rows are judged before the last one: levels proved worse by more
    than a margin are dropped, and a row whose cheapest remaining level is good enough stops. Looks beyond
    `families` are registered for `groundrules extend`; alpha is spread over all of them."""
    external: Annotated[int, Strict(), Field(ge=0, le=1000)] | None = None
    """Untouched families on which whole recipes meet after the verdicts are frozen; `tasks` must list as many
    reserves."""

    def value(self, name: str) -> int:
        """The number that holds: this study's own, else the profile's."""
        own = getattr(self, name)
        return int(PROFILES[self.profile][name] if own is None else own)

    @property
    def every_look(self) -> tuple[int, ...]:
        """Families after which the rows are looked at, now or in an extension."""
        own = self.value("families")
        if self.looks is None:
            return (*(look for look in LOOKS[self.profile] if look < own), own)
        return tuple(sorted({*self.looks, own}))


class ClaimSpec(Section):
    """A claim of a text that this study puts to the test; `ResolvedStudy.claimed` reads it."""

    id: Text
    """An id of the catalogue of claims (`I5`), or `own-` and a name."""
    quote: Annotated[Text, Field(min_length=1, max_length=1000)]
    """The statement, word for word."""
    source: Annotated[Text, Field(min_length=1, max_length=200)]
    """Where it stands."""
    type: Text
    """What kind of statement it is; it decides which test judges it."""
    factor: Text | None = None
    """The question that it is about, where the study has several."""
    levels: Annotated[tuple[Any, ...], Field(min_length=1, max_length=100)]
    """The levels that it compares, in the order claimed: the better one first."""
    regimes: tuple[Name, ...] = ()
    """The regime that it is about, where the study has several; a claim of type `regime` names two."""
    direction: Direction | None = None
    """For `dose`: whether more is said to be better or worse."""
    measure: Text = ""
    """For `exact`: the recorded quantity."""
    expected: Number | None = None
    """For `exact`: the value claimed, in the unit of the measure."""
    tolerance: Number | None = None
    """For `exact`: how far from it still agrees, in the same unit."""
    scope: dict[Text, Any] = Field(default_factory=dict)
    """Setting -> a value or `{low, high}`: outside it the claim is not tested."""


class ExtendsSpec(Section):
    """The study that this one continues; `groundrules extend` writes it (`studies.comparison.extension`)."""

    study: Name
    """The study that is continued."""
    root: Name
    """The first of the chain, whose name keys all random streams."""
    protocol: Hash
    """Hash of the protocol of `study`, as its ledger has it."""
    plan: Hash
    """Hash of the plan of `study`, as its ledger has it."""


class ControlsSpec(Section):
    """Which controls are run beside the questions, and where."""

    kinds: Annotated[tuple[ControlKind, ...], Field(min_length=1)] = CONTROL_KINDS
    """`a_a`: a level against itself; `placebo`: a change without effect; `positive`: one that must hurt."""
    regimes: tuple[Text, ...] = ()
    """By default the first regime alone: a control tests the machinery, which all regimes share."""
