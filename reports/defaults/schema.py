"""The nouns of a defaults file: what is recommended, on what evidence, and the recipe of every regime."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reports.io.dataclass_files import optional_field, to_dict
from reports.statistics.decision import Label
from reports.verdicts.model import DecidedBy
from reports.verdicts.validity_scope import Scope
from search_spaces.config import Setting, digest

SCHEMA = 1
"""Of the files that this version writes and reads."""

UNSEALED = ""
"""The hash of a table that is still being put together."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which plan produced the file."""

    hash: str
    protocol: str
    revision: int
    profile: str


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What the recommended level gains over one rival (positive: the rival is worse)."""

    against: str
    margins: float
    interval: tuple[float, float]
    """Two-sided 95 %."""
    points: float
    """Percentage points of error (regression: hundredths of the target's SD), unclipped."""
    tasks: int
    """Task families."""
    blocks: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Regret:
    """What it may cost to follow a row."""

    upper_bound_margins: float | None
    """At most this much worse than any rival (one-sided, at alpha); null where nothing bounds it."""
    leave_one_task_out: float | None
    """Mean loss in margins on a family that the choice has not seen; null for fewer than 8."""


@dataclass(frozen=True, kw_only=True)
class LevelEffect:
    """How much worse one level is than the recommended one (negative: better), over tasks."""

    level: str
    margins: float
    interval: tuple[float, float] | None
    """Two-sided 95 %; null where one block gives none."""
    points: float
    """As `Gain.points`."""
    tasks: int
    """Task families on which both were trained."""


@dataclass(frozen=True, kw_only=True)
class RecommendedLevel:
    """One recommended level."""

    factor: str
    regime: str
    recommended: str
    decided_by: DecidedBy
    textbook: tuple[str, ...]
    verdict: Label
    tied_with: tuple[str, ...]
    """Other levels proved as good within one margin, cheapest first."""
    effect: Gain | None
    tasks: tuple[str, ...]
    """Everything that it was judged on."""
    evaluations: int
    """Confirm members behind the verdict; `groundrules why` lists them from the workspace."""
    regret_if_wrong: Regret
    caveats: tuple[str, ...]
    effects: tuple[LevelEffect, ...] | None = optional_field()
    """Every other compared level against the recommended one, cheapest first."""
    mean_error: dict[str, float] | None = optional_field()  # noqa: RUF009 (a field's description)
    """Compared level -> mean test error over its tasks: shares of wrong items, or SDs of the target."""
    least_error: str | None = optional_field()
    """The level of least mean test error among those trained on all tasks; it proves nothing."""
    margin_points: tuple[float, float] | None = optional_field()
    """The least and the largest margin of its tasks, in the unit of `Gain.points`."""

    def effect_of(self, level: str) -> LevelEffect | None:
        """Of `level` against the recommended one; None where the file does not say."""
        return next((each for each in self.effects or () if each.level == level), None)

    @property
    def name(self) -> str:
        """`factor@regime`, as commands call it."""
        return f"{self.factor}@{self.regime}"

    @property
    def admissible(self) -> tuple[str, ...]:
        """The levels proved within one margin of every rival; none where the row fell back."""
        return () if self.decided_by == "fallback" else (self.recommended, *self.tied_with)


@dataclass(frozen=True, kw_only=True)
class TunedSetting:
    """One number a user types in, for the recommended level of a row."""

    name: str
    regime: str
    factor: str
    level: str
    optimizer: str
    value: float
    range: tuple[float, float]
    cells: int
    """Tasks x blocks behind `value`."""
    tunability_margins: float
    """Of all numbers of the level together."""
    loss_if_untuned_margins: float | None = optional_field()
    """Of this number alone."""
    leave_one_task_out_margins: float | None = optional_field()
    """What `value` costs on a family that it was not chosen on; missing with fewer than two families."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that one regime trains with when all of its rows are followed at once.

    Rows are judged one at a time; `compared` has what is known of the recipe as a whole.
    """

    regime: str
    levels: dict[str, str]
    """Factor -> level, for every factor of the catalogue."""
    numbers: dict[str, float]
    """Number -> value, for exactly the numbers that the levels open."""
    setting: Setting
    chosen_by: dict[str, str]
    """Factor, number or setting -> 'row FACTOR@REGIME', 'fixed', 'background' or 'regime'; what is not
    named here is the framework's default, or the study's setting."""
    numbers_chosen_by: dict[str, str] | None = optional_field()  # noqa: RUF009 (a field's description)
    """As `chosen_by`, of numbers alone: a factor and a number may share a name (weight_decay)."""
    compared: str | None = optional_field()
    """What the external check found of this regime's whole recipe; null where there was none."""


@dataclass(frozen=True, kw_only=True)
class ReadingGuide:
    """How the numbers are to be read."""

    value: str
    range: str
    tunability_margins: str
    holds_for: str
    loss_if_untuned_margins: str | None = optional_field()
    leave_one_task_out_margins: str | None = optional_field()
    margins: str | None = optional_field()
    effects: str | None = optional_field()


READING = ReadingGuide(
    value=(
        "the tried value of least mean regret over task families (validation metric above the best of the "
        "search, in margins capped at 4, smoothed over the tried points; all numbers of a level together)"
    ),
    range="middle half of the values chosen per task and block, and the value: search here first",
    tunability_margins=(
        "test error at the level's library defaults minus tuned error, in margins (clipped at 4): what "
        "leaving all of a level's numbers untuned costs"
    ),
    holds_for="new tasks of this scope",
    loss_if_untuned_margins=(
        "the same regret with this number alone at its library default, above the least along this number in "
        "each family (the other numbers at their values)"
    ),
    leave_one_task_out_margins=(
        "the same loss for the value that the other families choose, on the one left out; above 0 by noise"
    ),
    margins=(
        "one margin is the smallest difference in a task's test error worth acting on, fixed by a pilot "
        "before levels were compared; differences are clipped at 4 margins"
    ),
    effects=(
        "test error of a level minus that of the recommended one, in margins, with a 95 % interval: positive "
        "is worse; points are the same difference unclipped, in percentage points of error (regression: "
        "hundredths of the target's SD)"
    ),
)
"""Of every new file with enough families to speak of new tasks."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """A defaults file."""

    schema: int = SCHEMA
    hash: str = UNSEALED
    """Of everything else in the file: an edit by hand is noticed. See `sealed`."""
    table: str
    """The study's name."""
    scope: Scope
    plan: Plan
    versions: dict[str, str]
    rows: tuple[RecommendedLevel, ...]
    numbers: tuple[TunedSetting, ...]
    recipes: tuple[Recipe, ...]
    """One for each regime that has a row, in the order of the study."""
    reading: ReadingGuide

    @property
    def general(self) -> bool:
        """Enough families were judged to speak of new tasks."""
        return self.reading.holds_for == READING.holds_for

    @property
    def measured(self) -> bool:
        """Anything was trained for it; not what a textbook says, or a framework does unasked."""
        return any(row.evaluations for row in self.rows)

    @property
    def heading(self) -> str:
        """What its rows are, for the first line of an export."""
        if not self.measured:
            return f"Defaults of the {self.table}, not measured"
        if not self.general:
            return f"Answers of the study {self.table}, on its own tasks alone"
        return f"Recommended defaults of the study {self.table}"

    def __post_init__(self) -> None:
        keys = [(row.factor, row.regime) for row in self.rows]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"defaults: two rows for {key[0]}@{key[1]}")
        for row in self.rows:
            if row.recommended in row.tied_with:
                raise ValueError(f"defaults: row {row.factor}@{row.regime} is tied with itself")
            if row.effect and not row.effect.interval[0] <= row.effect.interval[1]:
                raise ValueError(f"defaults: row {row.factor}@{row.regime}: the interval is reversed")
        for number in self.numbers:
            if not number.range[0] <= number.range[1]:
                raise ValueError(f"defaults: {number.name}@{number.regime}: the range is reversed")
        regimes = list(dict.fromkeys(row.regime for row in self.rows))
        if sorted(recipe.regime for recipe in self.recipes) != sorted(regimes):
            raise ValueError(f"defaults: every regime with a row needs one recipe: {', '.join(regimes)}")

    def row(self, factor: str, regime: str) -> RecommendedLevel | None:
        """The row of that name; None where there is none."""
        return next((row for row in self.rows if (row.factor, row.regime) == (factor, regime)), None)

    def recipe(self, regime: str) -> Recipe:
        """The recipe of a regime that has a row."""
        return next(recipe for recipe in self.recipes if recipe.regime == regime)


def content_hash(defaults: Defaults) -> str:
    """The hash of everything in `defaults` but the field `hash`; equal in every process."""
    return digest(to_dict(replace(defaults, hash=UNSEALED)))


def sealed(defaults: Defaults) -> Defaults:
    """The same table with the hash of what it says."""
    return replace(defaults, hash=content_hash(defaults))
