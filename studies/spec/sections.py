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
    """Level names or values, or named combinations (name -> change)."""


class RangeSpec(Section):
    """A nuisance number searched in a narrower range than the catalogue's, or a whole-numbered setting."""

    low: Number
    high: Number


class BudgetSpec(Section):
    """A profile, and where this study departs from it."""

    profile: Profile = "quick"
    families: Few | None = None
    blocks: Few | None = None
    trials: Many | None = None
    promoted: Few | None = None
    promote_seeds: Few | None = None
    confirm_seeds: Few | None = None
    looks: Annotated[tuple[Few, ...], Field(max_length=20)] | None = None
    """Families after which the rows are looked at besides this study's own number. Those beyond it are looks
    that `groundrules extend` may take later: alpha is spread over all of them. None: the profile's, as far as
    this study has more families than that."""
    external: Annotated[int, Strict(), Field(ge=0, le=1000)] | None = None

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
    """Of the catalogue of claims (`I5`), or `own-` and a name."""
    quote: Annotated[Text, Field(min_length=1, max_length=1000)]
    source: Annotated[Text, Field(min_length=1, max_length=200)]
    type: Text
    """One of `reports.claims.claim_types.TYPES`."""
    factor: Text | None = None
    """The question, where there are several."""
    levels: Annotated[tuple[Any, ...], Field(min_length=1, max_length=100)]
    regimes: tuple[Name, ...] = ()
    """The regime, where there are several; of a claim of type regime two."""
    direction: Direction | None = None
    measure: Text = ""
    expected: Number | None = None
    tolerance: Number | None = None
    scope: dict[Text, Any] = Field(default_factory=dict)


class ExtendsSpec(Section):
    """The study that this one continues; `groundrules extend` writes it (`studies.comparison.extension`)."""

    study: Name
    root: Name
    """The first of the chain, by whose name all streams are keyed."""
    protocol: Hash
    plan: Hash
    """Of `study`, as its ledger has them."""


class ControlsSpec(Section):
    """Which controls are run beside the questions, and where."""

    kinds: Annotated[tuple[ControlKind, ...], Field(min_length=1)] = CONTROL_KINDS
    regimes: tuple[Text, ...] = ()
    """() for the first regime alone: what a control tests is the machinery, which all regimes share."""
