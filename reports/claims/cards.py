"""The verdict card of a claim.

A card is JSON-ready data. It lies beside its study's page as JSON and CSV, so that the ledger of a workspace
never has to judge a study again.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reports.claims.challenge import challenge_of
from reports.claims.claim_types import type_of
from reports.claims.outcome import ClaimEvidence, Counterexample, Outcome
from reports.evidence.arrays import Evidence
from reports.evidence.claim import Claim
from reports.evidence.fairness_checks import unjudged, untrained
from reports.evidence.study_record import StudyRecord
from reports.evidence.validity import answering, validity_status
from reports.io.control_characters import cell
from reports.io.dataclass_files import from_dict, json_text
from reports.io.safe_paths import read_bounded, write
from reports.statistics.compare import FEW_FAMILIES
from trainers.evaluation import Evaluation

FILE = "claims.json"
LONGEST = 20_000_000
TABLE = "claims.csv"

Word = Literal["confirmed", "tied", "contradicted", "insufficient", "unlisted", "not_tested"]
"""A verdict, or 'not_tested' where there can be none."""

WITNESSES = 3
"""Tasks that a contradicted claim names."""


@dataclass(frozen=True, kw_only=True)
class Witness:
    """One task that speaks against a contradicted claim."""

    task: str
    margins: float
    """Mean effect there; below 0: against the claim."""
    levels: tuple[str, str]
    """The one that was claimed to be better, and the one that was."""
    rates: tuple[tuple[float, float] | None, tuple[float, float] | None]
    """Least and greatest learning rate chosen there for each; None where it was not tuned."""
    replay: tuple[str, str]
    """An evaluation of each on the block where the claim does worst."""


@dataclass(frozen=True, kw_only=True)
class ClaimCard:
    """One claim and what one study says of it, plan and price included."""

    study: str
    plan_hash: str
    id: str
    quote: str
    source: str
    type: str
    factor: str
    levels: tuple[str, ...]
    regimes: tuple[str, ...]
    statement: str
    """What is claimed of which levels where, in a line."""
    verdict: Word
    reason: str
    """Why it was not tested; '' where it was."""
    general: bool
    """8 families or more; otherwise the verdict is about these tasks only."""
    tasks: tuple[str, ...]
    sentence: str
    margins: float | None
    """Mean effect over families, above 0 where it speaks for the claim; None where margins mean nothing."""
    interval: tuple[float, float] | None
    """Two-sided 95 %."""
    points: float | None
    """The same unclipped in percentage points (of error, of members that train; regression: 1/100 SD)."""
    prediction: tuple[float, float] | None
    """95 % interval for the effect on a new family."""
    improve: tuple[float, float, float] | None
    """Chance that a block shows the effect, with its 95 % interval."""
    p: float
    """Of the state behind the verdict, for the ledger; 1 where there is none."""
    families: int
    blocks: int
    seeds: int
    trials: int
    """Search points of each level in a block, besides the library default."""
    runs: int
    """Members of its levels in its regimes, all phases."""
    core_hours: float | None
    """Training time of these members; None where the record does not have it."""
    witnesses: tuple[Witness, ...]
    proved: tuple[str, ...]
    """Of an ordering: the pairs that are proved."""

    @property
    def where(self) -> str:
        """'' for tasks in general; below 8 families 'on TASK'."""
        return "" if self.general or not self.tasks else f"on {', '.join(self.tasks)}"

    @property
    def tested(self) -> bool:
        return self.verdict != "not_tested"


def cards(record: StudyRecord) -> tuple[ClaimCard, ...]:
    """A card for every claim of the study, in the order of its file; never raises for a weak study."""
    if not record.claims:
        return ()
    now = validity_status(record)
    rows: dict[tuple[str, str], Evidence] = {}
    if now.kind == "evidence":
        rows = {(row.question.factor, row.regime): row for row in answering(record)}
    return tuple(
        _card(record, claim, rows, _untestable(record, claim, now.kind, now.reason))
        for claim in record.claims
    )


def _untestable(record: StudyRecord, claim: Claim, kind: str, reason: str) -> str:
    """Why a claim cannot be judged here; '' where it can."""
    for regime in claim.regimes:
        if outside := claim.outside(record.regimes[regime]):
            return f"{outside} ({regime})"
    if kind != "evidence":
        return {
            "interim": "the study is not complete",
            "invalid": "a control of the study failed",
            "unjudged": "its rows have no task that was judged",
        }.get(kind, reason)
    gaps = unjudged(record)
    for regime in claim.regimes:
        if (claim.factor, regime) in untrained(record):
            return f"members of its row could not be trained in {regime}"
        if (claim.factor, regime) in gaps:
            return f"the pilot left every task out in {regime}"
    return ""


def _card(
    record: StudyRecord, claim: Claim, rows: Mapping[tuple[str, str], Evidence], reason: str
) -> ClaimCard:
    kind = type_of(claim)
    its = {regime: rows[claim.factor, regime] for regime in claim.regimes} if not reason else {}
    members = [
        row
        for regime in claim.regimes
        for row in record.of(claim.factor, regime)
        if row.slot.level in claim.levels
    ]
    outcome = None
    challenge = challenge_of(record, claim) if its else None
    if isinstance(challenge, str):
        reason = challenge
    elif its:
        chosen = [row for row in members if row.slot.phase == "confirm" and row.arm == "tuned"]
        looks = max(1, len(record.budget.looks))
        outcome = kind.judge(claim, ClaimEvidence(rows=its, members=chosen, looks=looks, challenge=challenge))
        reason = "" if outcome else "nothing was recorded of the inside of its trainings"
    families = min((len(row.families) for row in its.values()), default=0)
    tasks = tuple(dict.fromkeys(task for row in its.values() for task in row.tasks))
    if outcome is not None and outcome.blocks is not None:
        families, tasks = outcome.blocks.families, outcome.blocks.tasks
    seconds = [
        record.core_seconds.get((claim.factor, regime, level))
        for regime in claim.regimes
        for level in claim.levels
    ]
    spent = [one for one in seconds if one is not None]
    return ClaimCard(
        study=record.name,
        plan_hash=record.plan_hash,
        id=claim.id,
        quote=claim.quote,
        source=claim.source,
        type=claim.type,
        factor=claim.factor,
        levels=claim.levels,
        regimes=claim.regimes,
        statement=kind.said(claim),
        verdict="not_tested" if outcome is None else outcome.label,
        reason=reason,
        general=families >= FEW_FAMILIES,
        tasks=tasks if outcome else (),
        sentence=_capital(outcome.sentence) if outcome else "",
        **_effect(claim, outcome),
        p=1.0 if outcome is None else outcome.p,
        families=families if outcome else 0,
        blocks=record.budget.blocks,
        seeds=record.budget.confirm_seeds,
        trials=record.budget.trials,
        runs=len(members),
        core_hours=round(sum(spent) / 3600, 4) if spent else None,
        witnesses=_witnesses(record, claim, outcome),
        proved=outcome.proved if outcome else (),
    )


def _effect(claim: Claim, outcome: Outcome | None) -> dict[str, Any]:
    """The numbers of an outcome, as far as it has any."""
    effect = outcome.effect if outcome else None
    blocks = outcome.blocks if outcome else None
    improve = blocks.improve() if blocks and type_of(claim).directed else None
    return {
        "margins": float(effect.bounds.mean) if effect else None,
        "interval": effect.interval if effect and math.isfinite(effect.interval[0]) else None,
        "points": outcome.points if outcome else None,
        "prediction": blocks.prediction() if blocks else None,
        "improve": (improve.share, improve.low, improve.high) if improve else None,
    }


def _witnesses(record: StudyRecord, claim: Claim, outcome: Outcome | None) -> tuple[Witness, ...]:
    """The tasks against a contradicted claim, the worst first."""
    if outcome is None or outcome.label != "contradicted" or outcome.against is None:
        return ()
    against = outcome.against
    by_task = against.blocks.by_task
    worst = [int(t) for t in np.argsort(by_task, kind="stable")[:WITNESSES] if by_task[t] < 0]
    confirmed: dict[tuple[str, str], list[Evaluation]] = {}
    rows = record.of(claim.factor, against.regime)
    if against.fresh:
        rows = tuple(
            row
            for row in record.fresh
            if (row.slot.factor, row.slot.regime) == (claim.factor, against.regime)
        )
    for row in rows:
        if row.slot.phase == "confirm" and row.arm == "tuned":
            confirmed.setdefault((row.slot.task, row.slot.level), []).append(row)
    return tuple(_witness(against, t, confirmed) for t in worst)


def _witness(
    against: Counterexample, t: int, confirmed: Mapping[tuple[str, str], list[Evaluation]]
) -> Witness:
    task = against.blocks.tasks[t]
    worst = int(np.argmin(against.blocks.values[t]))
    a, b = (confirmed[task, level] for level in against.levels)
    return Witness(
        task=task,
        margins=float(against.blocks.by_task[t]),
        levels=against.levels,
        rates=(_rates(a), _rates(b)),
        replay=(_first(a, worst), _first(b, worst)),
    )


def _rates(rows: Sequence[Evaluation]) -> tuple[float, float] | None:
    rates = [row.config.numbers["learning_rate"] for row in rows if "learning_rate" in row.config.numbers]
    return (min(rates), max(rates)) if rates else None


def _first(rows: Sequence[Evaluation], place: int) -> str:
    """Id of the first seed of the `place`-th block; blocks of the challenge stage do not begin at 0."""
    block = sorted({row.slot.block for row in rows})[place]
    return min((row.slot.index, row.id) for row in rows if row.slot.block == block)[1]


def _capital(text: str) -> str:
    """Our own words begin with a capital; the name of a level stays as it is."""
    return f"The{text[3:]}" if text.startswith("the ") else text


# Beside the page.


def write_cards(cards: tuple[ClaimCard, ...], folder: Path) -> None:
    """Leaves the cards beside the page as JSON and CSV; where there are none, no files."""
    if cards:
        write(folder / FILE, json_text(cards))
        write(folder / TABLE, as_csv(cards))


def read_cards(folder: Path) -> tuple[ClaimCard, ...]:
    """The cards beside a page; () where there are none, or another version wrote them."""
    try:
        data = json.loads(read_bounded(folder / FILE, LONGEST))
        return tuple(from_dict(ClaimCard, one, f"{folder.name}[{i}]") for i, one in enumerate(data))
    except (OSError, ValueError, TypeError, RecursionError):
        return ()


COLUMNS = (
    *("study", "id", "source", "type", "factor", "levels", "regimes", "verdict", "where", "reason", "quote"),
    *("margins", "low", "high", "points", "prediction_low", "prediction_high"),
    *("improve", "improve_low", "improve_high", "p", "families", "blocks", "seeds", "trials", "runs"),
    *("core_hours", "plan_hash", "sentence"),
)


def as_csv(cards: tuple[ClaimCard, ...]) -> str:
    """One row for each card, with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([cell(value) for value in _row(card)] for card in cards)
    return out.getvalue()


def _row(card: ClaimCard) -> tuple[Any, ...]:
    none = (None, None)
    return (
        *(card.study, card.id, card.source, card.type, card.factor),
        *(" ".join(card.levels), " ".join(card.regimes), card.verdict, card.where, card.reason, card.quote),
        *(card.margins, *(card.interval or none), card.points, *(card.prediction or none)),
        *(*(card.improve or (None, *none)), card.p, card.families, card.blocks, card.seeds, card.trials),
        *(card.runs, card.core_hours, card.plan_hash, card.sentence),
    )
