"""One claim put to the test: its verdict by its type, and the p-value it brings to the ledger.

The words are those of method.md 2.8, which `reports.statistics.claim_rules` gives; here the evidence of a
study is laid out for them. A claim about L levels has bounds at alpha / (L * looks), whatever else its
question compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from reports.claims.effects import BlockEffects, OverallEffect, difference, measured, pair, points, slope
from reports.evidence.arrays import Evidence
from reports.evidence.claim import Claim
from reports.statistics import claim_rules
from reports.statistics.compare import Array, block_effects, compare, family_effects
from reports.statistics.decision import Label
from reports.statistics.false_discovery import state_p
from reports.verdicts.sentences import listed, signed
from trainers.evaluation import Evaluation

NO_CHALLENGE = -1
"""What `claim_rules.always_claim` takes where the challenge stage was not run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Counterexample:
    """Where to look for what speaks against a contradicted claim."""

    regime: str
    levels: tuple[str, str]
    """The one that was claimed to be better, and the one that was."""
    blocks: BlockEffects
    """Below 0: against the claim."""
    fresh: bool = False
    """These are blocks of the challenge stage."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Challenge:
    """What the fresh blocks of an 'always' claim say (`reports.claims.challenge`)."""

    blocks: BlockEffects
    """[C, R] effects on the challenged tasks, worst of the confirm phase first; above 0: for the claim."""
    reversed: NDArray[np.bool_]
    """[C] proved reversed beyond the margin, Holm over C."""
    p: float
    """The least p of a reversal, times C."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClaimEvidence:
    """What one study has of a claim."""

    rows: Mapping[str, Evidence]
    """Regime -> evidence of the claim's question, one for each of its regimes."""
    members: Sequence[Evaluation]
    """Tuned confirm members of its levels in its regimes."""
    looks: int
    """How often the plan allows the data to be looked at."""
    challenge: Challenge | None
    """Of a claim of type always, where it was challenged."""

    def first(self, claim: Claim) -> Evidence:
        """Of its levels alone, in its first regime."""
        return measured(self.rows[claim.regimes[0]], claim.levels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What one study alone says of one claim."""

    label: Label
    p: float
    """Of the state behind the label; 1 where there is none."""
    sentence: str
    effect: OverallEffect | None = None
    """The effect in margins, above 0 where it speaks for the claim; None where margins mean nothing."""
    blocks: BlockEffects | None = None
    points: float | None = None
    """The same in percentage points of error (regression: hundredths of the target's SD)."""
    against: Counterexample | None = None
    proved: tuple[str, ...] = ()
    """Of an ordering: the pairs that are proved."""


def _level(evidence: Evidence, count: int, looks: int) -> float:
    return evidence.question.alpha / (count * looks)


def _p(effect: OverallEffect) -> float:
    return float(state_p(effect.bounds, claim_rules.states(effect.bounds), effect.freedom))


Word = Callable[[OverallEffect, BlockEffects], claim_rules.Strings]
"""The verdict on one pair of levels."""


def pair_outcome(
    claim: Claim, evidence: Evidence, looks: int, word: Word, *, either_way: bool = False
) -> Outcome:
    """Two levels in one regime.

    Args:
        claim: of them.
        evidence: of these two.
        looks: how often the plan allows the data to be looked at.
        word: the verdict.
        either_way: neither of the two is claimed to be better: whichever is speaks against the claim.
    """
    a, b = claim.levels
    blocks = pair(evidence)
    effect = blocks.overall(level=_level(evidence, 2, looks))
    label = word(effect, blocks)
    verdict = _label(label)
    turned = either_way and effect.bounds.mean > 0
    raw = points(evidence)
    return Outcome(
        label=verdict,
        p=_p(effect) if verdict != "insufficient" else 1.0,
        sentence=f"{_higher(b, a, effect)} ({abs(raw):.2f} points).",
        effect=effect,
        blocks=blocks,
        points=raw,
        against=Counterexample(
            regime=evidence.regime,
            levels=(b, a) if turned else (a, b),
            blocks=blocks.mirrored() if turned else blocks,
        ),
    )


def always_word(
    effect: OverallEffect, blocks: BlockEffects, challenge: Challenge | None
) -> claim_rules.Strings:
    """Of an 'always' claim, whose fresh blocks may not have been trained."""
    prediction = blocks.prediction()
    low = prediction[0] if prediction else -math.inf
    turned_over = NO_CHALLENGE if challenge is None else int(challenge.reversed.sum())
    return claim_rules.always_claim(effect.bounds, np.array(low), np.array(turned_over))


def usually_word(effect: OverallEffect, blocks: BlockEffects) -> claim_rules.Strings:
    """Of a 'usually' claim."""
    improve = blocks.improve()
    return claim_rules.usually_claim(effect.bounds, np.array(improve.low if improve else 0.0))


def challenged_outcome(outcome: Outcome, claim: Claim, challenge: Challenge) -> Outcome:
    """With what the fresh blocks say; a reversal that they prove is what contradicts the claim."""
    blocks = challenge.blocks
    means = [f"{task} {signed(mean)}" for task, mean in zip(blocks.tasks, blocks.by_task, strict=True)]
    turned = [task for task, is_so in zip(blocks.tasks, challenge.reversed, strict=True) if is_so]
    verdict = (
        f"reversed beyond the margin on {listed(turned)}" if turned else "none reversed beyond the margin"
    )
    sentence = (
        f"{outcome.sentence} Challenged on its {len(means)} worst tasks with {blocks.values.shape[1]} fresh "
        f"blocks each ({', '.join(means)} margins): {verdict}."
    )
    if not turned:
        return replace(outcome, sentence=sentence)
    at = [blocks.tasks.index(task) for task in turned]
    return replace(
        outcome,
        sentence=sentence,
        p=challenge.p,
        against=Counterexample(
            regime=claim.regimes[0],
            levels=(claim.levels[0], claim.levels[1]),
            blocks=replace(
                blocks,
                values=blocks.values[at],
                tasks=tuple(turned),
                family=np.arange(len(at)),
                overlap=blocks.overlap[at],
            ),
            fresh=True,
        ),
    )


def ordering_outcome(claim: Claim, study: ClaimEvidence) -> Outcome:
    """Every adjacent pair, and Page's trend over all."""
    evidence, looks = study.first(claim), study.looks
    count, alpha = len(claim.levels), evidence.question.alpha
    comparison = compare(
        evidence.tuned, evidence.delta, evidence.family, alpha=alpha, looks=looks, over=evidence.over,
        overlap=evidence.overlap,
    )  # fmt: skip
    trend = claim_rules.trend_p(_ranked(evidence), tuple(range(count)))
    order = tuple(range(count))
    verdict = _label(claim_rules.ordering_claim(comparison, order, np.array(trend), alpha=alpha / looks))
    steps = [pair(evidence, i, j) for i, j in pairwise(order)]
    each = [step.overall(level=_level(evidence, count, looks)) for step in steps]
    states = [str(claim_rules.states(overall.bounds)) for overall in each]
    p = [_p(overall) for overall in each]
    worst = min(range(len(steps)), key=lambda i: float(each[i].bounds.mean))
    reversed_p = [value for value, state in zip(p, states, strict=True) if state == "worse"]
    ends = pair(evidence, 0, count - 1)
    overall = ends.overall(level=_level(evidence, count, looks))
    partial = claim_rules.partial_order(comparison)
    return Outcome(
        label=verdict,
        p={
            "confirmed": max(trend, *p),
            "tied": max(p),
            "contradicted": min(1.0, len(p) * min(reversed_p, default=1.0)),
        }.get(verdict, 1.0),
        sentence=(
            f"Of {len(p)} adjacent pairs {states.count('better')} proved as claimed, {states.count('tied')} "
            f"tied, {states.count('worse')} reversed. From first to last: "
            f"{_higher(claim.levels[-1], claim.levels[0], overall)}."
        ),
        effect=overall,
        blocks=ends,
        points=points(evidence, 0, count - 1),
        against=Counterexample(
            regime=evidence.regime,
            levels=(claim.levels[worst], claim.levels[worst + 1]),
            blocks=steps[worst],
        ),
        proved=tuple(f"{claim.levels[a]} over {claim.levels[b]}" for a, b in partial),
    )


def dose_outcome(claim: Claim, study: ClaimEvidence) -> Outcome:
    """A straight line over equal steps from the first level to the last, and Page's trend."""
    evidence, looks = study.first(claim), study.looks
    alpha, count = evidence.question.alpha, len(claim.levels)
    falls = claim.direction == "better"
    line = slope(evidence) if falls else slope(evidence).mirrored()
    overall = line.overall(level=_level(evidence, 2, looks))
    # Page's test wants the least error first.
    order = tuple(range(count))[:: -1 if falls else 1]
    trend = claim_rules.trend_p(_ranked(evidence), order)
    steps = [pair(evidence, i, j) for i, j in pairwise(order)]
    each = [step.overall(level=_level(evidence, count, looks)) for step in steps]
    against = [one for one in each if claim_rules.states(one.bounds) == "worse"]
    verdict = _label(
        claim_rules.dose_claim(overall.bounds, np.array(bool(against)), np.array(trend), alpha=alpha / looks)
    )
    if claim_rules.states(overall.bounds) == "worse":
        reversed_p = _p(overall)
    else:
        reversed_p = min(1.0, len(each) * min(map(_p, against), default=1.0))
    worst = min(range(len(steps)), key=lambda i: float(each[i].bounds.mean))
    a, b = (claim.levels[order[worst]], claim.levels[order[worst + 1]])
    better, worse = (claim.levels[-1], claim.levels[0]) if falls else (claim.levels[0], claim.levels[-1])
    return Outcome(
        label=verdict,
        p={"confirmed": max(trend, _p(overall)), "tied": _p(overall), "contradicted": reversed_p}.get(
            verdict, 1.0
        ),
        sentence=(
            f"Along a straight line from {claim.levels[0]} to {claim.levels[-1]}: "
            f"{_higher(worse, better, overall)}."
        ),
        effect=overall,
        blocks=line,
        points=points(evidence, count - 1, 0) if falls else points(evidence, 0, count - 1),
        against=Counterexample(regime=evidence.regime, levels=(a, b), blocks=steps[worst]),
    )


def regime_outcome(claim: Claim, study: ClaimEvidence) -> Outcome:
    """The first level leads in the first regime, the second in the second: difference of differences."""
    first_evidence, second_evidence = (measured(study.rows[name], claim.levels) for name in claim.regimes)
    a, b = claim.levels
    level = _level(first_evidence, 2, study.looks)
    arms = pair(first_evidence), pair(second_evidence)
    gap = difference(*arms)
    if gap is None:
        return Outcome(
            label="insufficient", p=1.0, sentence="No task was judged in both regimes: nothing is paired."
        )
    first, second, whole = (each.overall(level=level) for each in (*arms, gap))
    verdict = _label(claim_rules.regime_claim(whole.bounds, first.bounds, second.bounds))
    wrong = claim_rules.states(first.bounds) == "worse", claim_rules.states(second.bounds) == "better"
    reversed_p = [p for p, is_wrong in zip((_p(first), _p(second)), wrong, strict=True) if is_wrong]
    superior = float(state_p(whole.bounds, np.array("better"), whole.freedom))
    at_first = wrong[0] or not wrong[1]
    return Outcome(
        label=verdict,
        p={
            "confirmed": superior,
            "tied": max(_p(first), _p(second)),
            "contradicted": min(1.0, 2 * min(reversed_p, default=1.0)),
        }.get(verdict, 1.0),
        sentence=(
            f"In {claim.regimes[0]}: {_higher(b, a, first)}. In {claim.regimes[1]}: "
            f"{_higher(a, b, _turned(second))}. The effects differ by {_margins(whole)}."
        ),
        effect=whole,
        blocks=gap,
        points=points(first_evidence) - points(second_evidence),
        against=Counterexample(
            regime=(first_evidence if at_first else second_evidence).regime,
            levels=(a, b) if at_first else (b, a),
            blocks=arms[0] if at_first else arms[1].mirrored(),
        ),
    )


def _ranked(evidence: Evidence) -> Array:
    """[F, L] errors of each family above those of its first level, in margins.

    Of fewer than 8 families one row per block: then only these tasks are spoken of.
    """
    effects = block_effects(evidence.tuned, evidence.delta)[..., :, 0]
    if evidence.over == "splits":
        return effects.reshape(-1, effects.shape[-1])
    units: Array = family_effects(effects.mean(axis=1)[:, None, :], evidence.family)[:, 0, :]
    return units


def _turned(effect: OverallEffect) -> OverallEffect:
    low, high = effect.interval
    return OverallEffect(bounds=effect.bounds.mirrored(), freedom=effect.freedom, interval=(-high, -low))


def _higher(worse: str, better: str, effect: OverallEffect) -> str:
    """Whose error is higher, and by how many margins, with the 95 % interval."""
    if effect.bounds.mean < 0:
        return _higher(better, worse, _turned(effect))
    return f"the error of {worse} is {_margins(effect)} higher than that of {better}"


def _margins(effect: OverallEffect) -> str:
    low, high = effect.interval
    if not math.isfinite(low):
        return f"{signed(float(effect.bounds.mean))} margins (no interval: one block only)"
    return f"{signed(float(effect.bounds.mean))} margins [{signed(low)}, {signed(high)}]"


def _label(label: object) -> Label:
    return cast(Label, str(label))
