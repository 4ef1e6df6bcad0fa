"""Claims of every type, on 300 random studies of 2 to 5 levels and 1 to 3 looks, agree with method 2.8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.claims.claim_types import type_of
from reports.claims.effects import pair as blocks_of
from reports.claims.outcome import Challenge, ClaimEvidence, Outcome
from reports.evidence.arrays import Evidence
from reports.evidence.claim import Claim
from reports.evidence.question import Question
from tests.reports import reference_claims
from tests.reports.reference_claims import Expected, Row

NAMES = ("a", "b", "c", "d", "e")
REGIMES = ("shallow", "deep")
WORDS = ("confirmed", "tied", "contradicted", "insufficient")


class Study:
    """A random row in two regimes, and a claim's levels among its own in another order."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.levels = int(rng.integers(2, 6))
        self.looks = int(rng.integers(1, 4))
        self.alpha = float(rng.choice([0.05, 0.1]))
        families = int(rng.choice([4, 8, 12, 20]))
        extra = rng.choice(families, 2)
        self.family = np.sort(np.concatenate([np.arange(families), extra])).astype(np.int64)
        shape = (len(self.family), int(rng.integers(2, 5)), self.levels)
        self.delta = rng.uniform(0.01, 0.03, shape[0])
        self.overlap = rng.uniform(0.3, 0.6, shape[0])
        self.errors = {regime: self._errors(rng, shape) for regime in REGIMES}
        self.chosen = rng.permutation(self.levels)[: int(rng.integers(2, self.levels + 1))].tolist()
        self.evidence = {regime: self._evidence(regime) for regime in REGIMES}
        self.direction = str(rng.choice(["better", "worse"]))
        self.turned = int(rng.integers(-1, 3))

    def _errors(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        truth = rng.choice([0.0, 0.1, 0.5, 0.8, 1.0, 1.2, 2.0], shape[2])
        if rng.random() < 0.4:
            truth = np.sort(truth)[:: int(rng.choice([-1, 1]))]
        noise = rng.choice([0.15, 0.5, 1.0])
        own = noise * (0.7 * rng.normal(size=(shape[0], 1, shape[2])) + rng.normal(size=shape))
        return np.asarray(0.2 + self.delta[:, None, None] * (truth + own))

    def _evidence(self, regime: str) -> Evidence:
        names = NAMES[: self.levels]
        families = tuple(f"f{f}" for f in range(int(self.family.max()) + 1))
        return Evidence(
            question=Question(
                factor="factor",
                levels=names,
                regimes=REGIMES,
                cost={name: rank for rank, name in enumerate(names)},
                textbook={},
                alpha=self.alpha,
            ),
            regime=regime,
            levels=names,
            tasks=tuple(f"t{t}" for t in range(len(self.family))),
            families=families,
            family=self.family,
            real=(True,) * len(self.family),
            generated=(False,) * len(self.family),
            percent=(True,) * len(self.family),
            delta=self.delta,
            tuned=self.errors[regime],
            untuned=self.errors[regime][..., ::-1],
            finished=np.ones(self.levels),
            overlap=self.overlap,
            seeds=2,
            ids=(),
        )

    def row(self, regime: str, levels: list[int]) -> Row:
        return Row(
            errors=self.errors[regime][..., levels],
            delta=self.delta.tolist(),
            family=self.family.tolist(),
            overlap=self.overlap.tolist(),
        )

    def claimed(self, kind: str, levels: list[int], **more: Any) -> Claim:
        return Claim(
            **{
                "id": "own-x", "quote": "", "source": "", "type": kind, "factor": "factor",
                "levels": tuple(NAMES[i] for i in levels), "regimes": REGIMES[:1], **more,
            }
        )  # fmt: skip

    def challenge(self, two: list[int]) -> Challenge | None:
        """What fresh blocks would say of the first tasks; None where the claim was not challenged."""
        if self.turned < 0:
            return None
        blocks = blocks_of(self.evidence[REGIMES[0]], *two)
        turned = np.arange(len(blocks.tasks)) < self.turned
        return Challenge(blocks=blocks, reversed=turned, p=0.01)


def compared(outcome: Outcome, expected: Expected, where: str) -> str:
    """The label, after everything that an outcome says was held against the second computation."""
    if expected.clear:
        assert outcome.label == expected.label, where
        assert outcome.p == pytest.approx(expected.p, rel=1e-6, abs=1e-12), where
    assert outcome.effect is not None
    bounds = outcome.effect.bounds
    assert float(bounds.mean) == pytest.approx(expected.effect.mean, abs=1e-12), where
    assert float(bounds.error) == pytest.approx(expected.effect.error), where
    assert (float(bounds.lower), float(bounds.upper)) == pytest.approx(
        expected.effect.bounds(expected.level)
    ), where
    assert outcome.effect.interval == pytest.approx(expected.effect.bounds(0.025)), where
    return outcome.label


def test_claims_of_every_type_agree_with_a_second_computation_on_300_studies() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(300):
        study = Study(seed)
        here, looks, alpha = REGIMES[0], study.looks, study.alpha
        two = study.chosen[:2]
        pair = study.row(here, two)
        for kind in ("better", "equal", "usually", "always"):
            challenge = study.challenge(two) if kind == "always" else None
            turned = None if challenge is None else study.turned
            expected = reference_claims.pair(kind, pair, alpha, looks, turned)
            outcome = outcome_of(study.claimed(kind, two), study.evidence, looks=looks, challenge=challenge)
            if turned:
                assert (outcome.label, outcome.p) == ("contradicted", 0.01)
            else:
                seen[kind, compared(outcome, expected, f"{kind}, study {seed}")] += 1
            raw = 100 * _points(study, here, two)
            assert outcome.points == pytest.approx(raw)
        levels = study.chosen
        if len(levels) > 2:
            expected = reference_claims.ordering(study.row(here, levels), alpha, looks)
            outcome = outcome_of(study.claimed("ordering", levels), study.evidence, looks=looks)
            seen["ordering", compared(outcome, expected, f"ordering, study {seed}")] += 1
            expected = reference_claims.dose(study.row(here, levels), study.direction, alpha, looks)
            claim = study.claimed("dose", levels, direction=study.direction)
            outcome = outcome_of(claim, study.evidence, looks=looks)
            seen["dose", compared(outcome, expected, f"dose, study {seed}")] += 1
        expected = reference_claims.regime(pair, study.row(REGIMES[1], two), alpha, looks)
        outcome = outcome_of(study.claimed("regime", two, regimes=REGIMES), study.evidence, looks=looks)
        seen["regime", compared(outcome, expected, f"regime, study {seed}")] += 1
    for kind in ("better", "usually", "always", "dose", "regime", "ordering"):
        assert min(seen[kind, word] for word in WORDS) >= 2, (kind, seen)
    assert min(seen["equal", word] for word in WORDS if word != "tied") >= 20


def outcome_of(
    claim: Claim, rows: Mapping[str, Evidence], *, looks: int, challenge: Challenge | None = None
) -> Outcome:
    """By the judge of the claim's type."""
    outcome = type_of(claim).judge(
        claim, ClaimEvidence(rows=rows, members=(), looks=looks, challenge=challenge)
    )
    assert outcome is not None
    return outcome


def _points(study: Study, regime: str, two: list[int]) -> float:
    gaps = (study.errors[regime][..., two[1]] - study.errors[regime][..., two[0]]).mean(axis=1)
    return float(np.mean([gaps[study.family == f].mean() for f in range(int(study.family.max()) + 1)]))


@pytest.mark.parametrize(("looks", "expected"), [(1, "confirmed"), (3, "insufficient")])
def test_the_trend_of_an_ordering_is_held_to_alpha_over_its_looks(looks: int, expected: str) -> None:
    """Two neighbours stand in the other order in every family, within a margin: Page's p is about 0.03."""
    study = Study(0)
    study.family, study.delta, study.overlap, study.alpha = np.arange(8), np.ones(8), np.ones(8), 0.05
    wave = 0.01 * np.sin(np.arange(16)).reshape(8, 2, 1) * np.arange(3)
    study.levels, study.errors = 3, dict.fromkeys(REGIMES, np.array([0.0, 2.3, 2.0]) + wave)
    p = reference_claims.page(study.row("deep", [0, 1, 2]), [0, 1, 2])
    assert 0.05 / 3 < p < 0.05
    evidence = {regime: study._evidence(regime) for regime in REGIMES}
    outcome = outcome_of(study.claimed("ordering", [0, 1, 2]), evidence, looks=looks)
    assert outcome.label == expected
