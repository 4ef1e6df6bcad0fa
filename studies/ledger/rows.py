"""What a ledger holds, as rows that its readers get."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.evaluation import Evaluation

GIVEN_UP = "given_up"
"""The kind of attempt that says that no other follows in its run."""


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One study as the ledger lists it."""

    name: str
    title: str
    protocol_hash: str
    protocol: Mapping[str, Any]
    """The resolved spec, the task facts, the rules and the package version, as they were hashed."""
    terms: Mapping[str, Any]
    """What was recorded at the first run and holds from then on: measured speed, versions, hardware."""
    started_ms: int


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One plan that was ever started."""

    revision: int
    """1 for the first under this study's name."""
    hash: str
    plan: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CommittedEvaluation:
    """One evaluation with the circumstances of its commit."""

    sequence: int
    """Strictly increasing in the order of the study's commits."""
    evaluation: Evaluation
    pack_id: str
    committed_ms: int
    """Wall clock, milliseconds since 1970."""
    seconds: float
    """The pack's training time divided by its members."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One thing that happened to a pack: append-only, never evidence."""

    pack: str
    slot: str
    """'' where the whole pack is meant; of one that was given up, its first member's."""
    kind: str
    """'committed', 'duplicate', or what failed."""
    cause: str
    worker: str
    seconds: float
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class CommittedPack:
    """One committed pack, without its evaluations."""

    factor: str
    """'' for the pilot."""
    task: str
    regime: str
    members: int
    seconds: float
    """Of training, the whole pack."""
    committed_ms: int

    @property
    def place(self) -> tuple[str, str, str]:
        """(factor, task, regime)."""
        return (self.factor, self.task, self.regime)


def still_abandoned(attempts: Sequence[Attempt], filled: Collection[str]) -> tuple[str, ...]:
    """Where and why packs were given up whose members are still missing: a line each, oldest first.

    Args:
        attempts: everything that ever happened to the study's packs.
        filled: slot ids of the evaluations that are there.
    """
    causes: dict[str, str] = {}
    for attempt in attempts:
        # Ledgers of earlier versions did not note a slot: nobody knows what became of those packs.
        if attempt.kind == GIVEN_UP and attempt.slot and attempt.slot not in filled:
            causes[attempt.slot] = attempt.cause
    return tuple(dict.fromkeys(causes.values()))
