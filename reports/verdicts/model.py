"""The answer to one question in one regime, and the effects that it rests on, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reports.evidence.race_progress import RaceProgress
from reports.statistics.compare import FEW_FAMILIES
from reports.statistics.decision import Label

EQUAL = 1e-9
"""Differences below this, in margins or points, are none: sums of equal errors in another order."""

DecidedBy = Literal["data", "cost_order", "fallback"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How much worse `level` is than `against` (positive: worse), over tasks, in margin units."""

    level: str
    against: str
    margins: float
    """Mean over tasks of the clipped block effects."""
    interval: tuple[float, float]
    """Two-sided 95 % t-interval over tasks."""
    upper: float
    """One-sided upper bound at alpha / L: below 1 proves `level` within one margin of `against`."""
    lower: float
    """One-sided lower bound at alpha / L."""
    points: float
    """The raw (unclipped) mean difference in percentage points of error (regression: of an SD)."""
    tasks: int
    """Task families that entered: those on which both levels were trained."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to one question in one regime."""

    factor: str
    regime: str
    textbook: tuple[str, ...]
    recommended: str
    decided_by: DecidedBy
    label: Label
    admissible: tuple[str, ...]
    """Levels proved within one margin of every rival, cheapest first."""
    best: str
    """Least mean error in margin units; says nothing about proof."""
    effects: tuple[Effect, ...]
    """Every ordered pair of levels."""
    mean_error: Mapping[str, float]
    """Level -> mean over the tasks it was trained on of the confirm error, in the metric's unit."""
    finished_share: Mapping[str, float]
    """Level -> share of confirm members that did not diverge."""
    families: int
    real_families: int
    tasks: tuple[str, ...]
    blocks: int
    seeds: int
    tasks_needed: int | None
    """Where the label is 'insufficient': about how many families would settle the row; None if more
    than 200, or not insufficient."""
    evidence: tuple[str, ...]
    """Ids of the evaluations used."""
    caveats: tuple[str, ...]
    course: RaceProgress | None = None
    """How the row raced; None where all levels were trained on all tasks, with one look at the end."""
    own_families: int = 0
    """Families of a user's own tasks that are not declared as measured data (`Task.real`)."""
    fallback_reason: str = ""
    """Why the recommended level is not the evidence's: the whole recipe lost the external check."""

    def effect(self, level: str, against: str) -> Effect:
        """The effect of one ordered pair."""
        for effect in self.effects:
            if (effect.level, effect.against) == (level, against):
                return effect
        raise ValueError(f"no effect of '{level}' against '{against}' in row {self.factor}@{self.regime}")

    @property
    def headline(self) -> Effect | None:
        """The one effect to quote: positive says by how much the rival is worse than what is recommended.

        The rival is the textbook's strongest level where something else is recommended, otherwise the
        strongest level outside the textbook's set (inside it, if there is none outside). None where the
        recommended level was not compared.
        """
        rivals = [effect for effect in self.effects if effect.against == self.recommended]
        by_book = [effect for effect in rivals if effect.level in self.textbook]
        others = [effect for effect in rivals if effect.level not in self.textbook]
        wanted = others if self.recommended in self.textbook else by_book
        return min(wanted or rivals, key=lambda effect: effect.margins, default=None)

    @property
    def contradiction(self) -> Effect | None:
        """The textbook's strongest compared level against the rival that most clearly beats them all.

        None unless the label is 'contradicted'. That rival need not be the recommended level, which may
        be a cheaper one proved within one margin of it.
        """
        named = [level for level in self.textbook if level in self.mean_error]
        if self.label != "contradicted" or not named:
            return None
        against = {
            rival: [self.effect(level, rival) for level in named]
            for rival in self.mean_error
            if rival not in named
        }
        beaten = max(against.values(), key=lambda effects: min(effect.lower for effect in effects))
        return min(beaten, key=lambda effect: effect.margins)

    @property
    def least(self) -> tuple[str, ...]:
        """The level of least mean test error among those trained on the most tasks; it proves nothing.

        Several where their errors are equal. Not always `best`, which weighs every task by its margin.
        """
        trained = dict.fromkeys(self.mean_error, 0)
        for effect in self.effects:
            trained[effect.level] = max(trained[effect.level], effect.tasks)
        most = max(trained.values())
        errors = {level: error for level, error in self.mean_error.items() if trained[level] == most}
        return tuple(level for level, error in errors.items() if error - min(errors.values()) < EQUAL)

    @property
    def trained(self) -> bool:
        """Whether the recommended level was trained here: a fallback may be none of the compared."""
        return self.recommended in self.mean_error

    @property
    def regret_bound(self) -> float | None:
        """Margins that the recommended level may at most be worse than any rival (at alpha)."""
        bounds = [effect.upper for effect in self.effects if effect.level == self.recommended]
        return max(bounds, default=None)

    @property
    def general(self) -> bool:
        """Enough families to speak of tasks in general; otherwise only of the tasks at hand."""
        return self.families >= FEW_FAMILIES
