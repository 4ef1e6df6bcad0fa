"""The record of one trained member. Imports without torch: ledgers and reports only read it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

from search_spaces.config import Config, digest

Phase = Literal["pilot", "retune", "promote", "confirm", "external", "search"]
Status = Literal["finished", "diverged", "pruned", "failed"]
"""'pruned': stopped after a validation at which others did better; only searches prune."""
Arm = Literal["tuned", "default"]

PHASES: tuple[Phase, ...] = ("pilot", "retune", "promote", "confirm", "external", "search")
EVIDENCE_PHASES: tuple[Phase, ...] = ("confirm", "external")
"""The only phases whose rows may enter a verdict, and the only ones that read test data."""
LOOKED_INTO: tuple[Phase, ...] = ("search", *EVIDENCE_PHASES)
"""Phases whose members are shown one by one: with curves in MLflow, and with their diagnostics."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The place of one evaluation in the plan; a resume asks which slots are still empty."""

    study: str
    factor: str
    """The scientific factor whose level is being judged ('' in the pilot and in a search)."""
    task: str
    regime: str
    block: int
    level: str
    """A level of `factor`; in the pilot the name of the reference recipe."""
    phase: Phase
    index: int
    """Which evaluation of this cell and phase: trial number, candidate and seed, or arm and seed."""

    @cached_property
    def id(self) -> str:
        return digest(self.plain())

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def cell(self) -> tuple[str, str, str, int, str]:
        """(factor, task, regime, block, level): what one search is run for."""
        return (self.factor, self.task, self.regime, self.block, self.level)


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One look at a member while it trains."""

    step: int
    train_loss: float
    """Mean training loss over the steps since the last look (in training mode)."""
    validation_loss: float
    validation_metric: float
    learning_rate: float
    """The rate of this step, after schedule."""

    @property
    def values(self) -> tuple[float, ...]:
        """All of it, in the order of the fields."""
        return (
            self.step, self.train_loss, self.validation_loss, self.validation_metric, self.learning_rate,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One trained member, as the ledger keeps it."""

    slot: Slot
    arm: Arm
    """'default': the level's library defaults (the k = 1 arm); 'tuned': everything else."""
    config: Config
    status: Status
    cause: str = ""
    """Why it did not finish: 'non_finite_loss', 'non_finite_validation', or a failed member's error."""
    validation_metric: float
    """Best validation metric (lower is better: error rate, or RMSE in training SDs); the trivial
    predictor's where the member diverged."""
    validation_loss: float
    """Loss at the same step; ties in selection break by it. inf where the member diverged."""
    best_step: int
    """The step of the best validation metric; 0 where the member diverged."""
    test: Mapping[str, float] | None = None
    """Read-out -> test metric; None in phases that may not read test. 'best_validation' and 'last', and
    where there are running statistics 'recomputed': the former with those of all training items."""
    curve: tuple[CurvePoint, ...] = ()
    steps: int
    """Updates made; fewer than planned where the member diverged, was pruned or stopped early."""
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of torch, numpy, python and this package, and the device kind it ran on."""
    processor: Mapping[str, str] = field(default_factory=dict)
    """Which kernels trained it (`trainers.processor`); {} where that was not recorded. No part of any id."""

    @property
    def id(self) -> str:
        return self.slot.id

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data; non-finite numbers become the strings 'inf', '-inf' and 'nan'."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["slot"] = self.slot.plain()
        data["config"] = self.config.plain()
        data["curve"] = [[_word(value) for value in point.values] for point in self.curve]
        for name in _NUMERIC:
            data[name] = _word(data[name])
        for name in _MAPPINGS:
            if data[name] is not None:
                data[name] = {key: _word(value) for key, value in data[name].items()}
        return data

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> Evaluation:
        """The inverse of `plain`.

        Raises:
            ValueError: nothing that `plain` made; a ledger may have been changed by hand, or damaged.
        """
        try:
            return _from_plain(data)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"no evaluation is kept like this ({type(error).__name__}: {error})") from error


def _from_plain(data: Mapping[str, Any]) -> Evaluation:
    row = dict(data)
    row["slot"] = _slot(row["slot"])
    row["config"] = Config.from_plain(row["config"])
    row["curve"] = tuple(
        CurvePoint(
            step=_whole(step), train_loss=_number(train), validation_loss=_number(loss),
            validation_metric=_number(metric), learning_rate=_number(rate),
        )
        for step, train, loss, metric, rate in row["curve"]
    )  # fmt: skip
    for name in _NUMERIC:
        row[name] = _number(row[name])
    for name in ("best_step", "steps"):
        row[name] = _whole(row[name])
    for name in _MAPPINGS:
        if row[name] is not None:
            row[name] = {_shared(key): _number(value) for key, value in row[name].items()}
    row["versions"] = _same(tuple(row["versions"].items()))
    row["processor"] = _same(tuple(row.get("processor", {}).items()))
    made = Evaluation(**row)
    if made.status not in _STATUSES or made.arm not in _ARMS or type(made.cause) is not str:
        raise TypeError(f"status {made.status!r}, arm {made.arm!r}, cause {made.cause!r:.80}")
    return made


def _slot(said: Mapping[str, Any]) -> Slot:
    slot = Slot(**{name: _shared(value) for name, value in said.items()})
    _whole(slot.block), _whole(slot.index)
    for text in (slot.study, slot.factor, slot.task, slot.regime, slot.level):
        if type(text) is not str:
            raise TypeError(f"{text!r:.80} is no name")
    if slot.phase not in PHASES:
        raise TypeError(f"{slot.phase!r:.80} is no phase")
    return slot


_STATUSES, _ARMS = get_args(Status), get_args(Arm)
_WORDS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}
_NUMERIC = ("validation_metric", "validation_loss")
_MAPPINGS = ("test", "diagnostics")


def _word(value: Any) -> Any:
    """A float that JSON does not know as a word; anything else as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if value != value else ("inf" if value > 0 else "-inf")
    return value


def _shared(value: Any) -> Any:
    """A word that many rows have in common, kept once: reports hold 100,000 evaluations."""
    return sys.intern(value) if type(value) is str else value


@lru_cache(maxsize=1024)
def _same(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One mapping for all evaluations of one installation."""
    for name, version in items:
        if type(version) is not str:
            raise TypeError(f"{name} = {version!r:.80} is no name or version")
    return dict(items)


def _number(value: Any) -> Any:
    """The inverse of `_word`; TypeError for what is no number."""
    if type(value) is float:
        return value
    if type(value) is str:
        return _WORDS[value]
    return _whole(value)


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise TypeError(f"{value!r:.80} is no number that is kept")
    return value
