"""The types of claims that texts make: what each needs, how it reads, and what judges it. One row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from reports.claims.counts import exact_outcome, success_outcome
from reports.claims.outcome import (
    ClaimEvidence,
    Outcome,
    Word,
    always_word,
    challenged_outcome,
    dose_outcome,
    ordering_outcome,
    pair_outcome,
    regime_outcome,
    usually_word,
)
from reports.evidence.claim import Claim
from reports.statistics import claim_rules
from search_spaces.factor import unknown

PAIR, TREND = (2, 2), (3, 100)
"""Levels of a comparison, and of an ordering or a dose: a trend over two is a pair."""


class Judge(Protocol):
    """What decides on a claim; None where nothing was recorded that could."""

    def __call__(self, claim: Claim, evidence: ClaimEvidence, /) -> Outcome | None: ...


@dataclass(frozen=True, kw_only=True)
class TypeOfClaim:
    """One type."""

    levels: tuple[int, int]
    """The fewest and the most that it speaks of."""
    regimes: int = 1
    statement: Callable[[Claim], str]
    """What is claimed of which levels."""
    judge: Judge
    counted: bool = False
    """It is judged by what is recorded of a training's inside, not by errors."""
    keys: tuple[str, ...] = ()
    """Of a study file: only this type has them, and needs them."""
    directed: bool = True
    """One of its levels is said to be better."""

    def said(self, claim: Claim) -> str:
        """What is claimed of which levels where, in a line: 'always he_normal over lecun_normal, in deep'."""
        where = "" if self.regimes > 1 else f", in {' and '.join(claim.regimes)}"
        return f"{self.statement(claim)}{where}"


def type_of(claim: Claim) -> TypeOfClaim:
    """The row of a claim's type; ValueError for one that there is not."""
    if claim.type not in TYPES:
        raise unknown("type of claim", claim.type, TYPES)
    return TYPES[claim.type]


def _pair(word: Word, *, either_way: bool = False) -> Judge:
    def judge(claim: Claim, evidence: ClaimEvidence) -> Outcome:
        return pair_outcome(claim, evidence.first(claim), evidence.looks, word, either_way=either_way)

    return judge


def _always(claim: Claim, evidence: ClaimEvidence) -> Outcome:
    challenge = evidence.challenge
    outcome = pair_outcome(
        claim,
        evidence.first(claim),
        evidence.looks,
        lambda effect, blocks: always_word(effect, blocks, challenge),
    )
    return outcome if challenge is None else challenged_outcome(outcome, claim, challenge)


TYPES: Mapping[str, TypeOfClaim] = {
    "better": TypeOfClaim(
        levels=PAIR,
        statement=lambda claim: " over ".join(claim.levels),
        judge=_pair(lambda effect, _: claim_rules.better_claim(effect.bounds)),
    ),
    "equal": TypeOfClaim(
        levels=PAIR,
        statement=lambda claim: " as good as ".join(claim.levels),
        judge=_pair(lambda effect, _: claim_rules.equal_claim(effect.bounds), either_way=True),
        directed=False,
    ),
    "always": TypeOfClaim(
        levels=PAIR,
        statement=lambda claim: f"always {' over '.join(claim.levels)}",
        judge=_always,
    ),
    "usually": TypeOfClaim(
        levels=PAIR,
        statement=lambda claim: f"usually {' over '.join(claim.levels)}",
        judge=_pair(usually_word),
    ),
    "ordering": TypeOfClaim(
        levels=TREND,
        statement=lambda claim: " over ".join(claim.levels),
        judge=ordering_outcome,
    ),
    "regime": TypeOfClaim(
        levels=PAIR,
        regimes=2,
        statement=lambda claim: ", ".join(
            f"{level} in {regime}" for level, regime in zip(claim.levels, claim.regimes, strict=True)
        ),
        judge=regime_outcome,
    ),
    "dose": TypeOfClaim(
        levels=TREND,
        statement=lambda claim: f"the more the {claim.direction}: {', '.join(claim.levels)}",
        judge=dose_outcome,
        keys=("direction",),
    ),
    "success_rate": TypeOfClaim(
        levels=PAIR,
        statement=lambda claim: " trains more often than ".join(claim.levels),
        judge=success_outcome,
        counted=True,
    ),
    "exact": TypeOfClaim(
        levels=(1, 1),
        statement=lambda claim: f"a number of {claim.levels[0]}",
        judge=exact_outcome,
        counted=True,
        keys=("measure", "expected", "tolerance"),
    ),
}
"""In the order in which study files may name them."""
