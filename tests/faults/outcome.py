"""What a study has come to, held against the quiet run of the same study."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from studies.ledger.ledger import Ledger
from trainers.evaluation import Evaluation

SPLIT_TOLERANCE = 1e-2
"""Relative difference allowed in members of packs that were split: they agree within rounding, which training
magnifies."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study as its workspace holds it."""

    evaluations: Mapping[str, Evaluation]
    """Slot id -> what the ledger holds."""
    runs: Mapping[str, int]
    """Slot id -> member runs in MLflow; empty where MLflow is not asked."""
    points: Mapping[str, int]
    """Slot id -> values of metrics that its runs hold."""
    report: Mapping[str, str]
    """File of the report -> hash of its bytes."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Kind -> how many."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How an outcome differs from the quiet one."""

    lost: int
    """Evaluations or MLflow runs that the quiet run has."""
    doubled: int
    """Evaluations that the quiet run does not have, or members with two runs in MLflow."""
    wrong: int
    """Evaluations with another content."""
    same_report: bool

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.wrong) and self.same_report


def outcome_of(workspace: Path, study: str, *, mlflow: bool = True, database: Path | None = None) -> Outcome:
    """Reads ledger, MLflow's database (the workspace's, or a server's) and report of one study."""
    with Ledger.open(workspace) as ledger:
        evaluations = {row.id: row for row in ledger.evaluations(study)}
        attempts = Counter(attempt.kind for attempt in ledger.attempts(study))
    runs, points = _runs(database or workspace / "mlflow.db", study) if mlflow else ({}, {})
    return Outcome(
        evaluations=evaluations,
        runs=runs,
        points=points,
        report=_hashes(workspace / "reports" / study),
        attempts=attempts,
    )


def compared(
    now: Outcome, quiet: Outcome, *, near: bool = False, expected: frozenset[str] = frozenset()
) -> Compared:
    """Holds an outcome against the quiet one.

    Args:
        now: under faults.
        quiet: without.
        near: agreement within `SPLIT_TOLERANCE` is enough, as after packs were split; the report is then not
            compared.
        expected: slots that are to differ, and are left out.
    """
    ours, theirs = now.evaluations, quiet.evaluations
    same = _near if near else _equal
    wrong = [
        slot
        for slot in theirs
        if slot in ours and slot not in expected and not same(ours[slot], theirs[slot])
    ]
    there = quiet.points
    return Compared(
        lost=len(theirs.keys() - ours.keys())
        + sum(now.points.get(slot, 0) < count for slot, count in there.items() if slot not in expected),
        doubled=len(ours.keys() - theirs.keys())
        + sum(count > 1 for count in now.runs.values())
        + sum(now.points.get(slot, 0) > count for slot, count in there.items() if slot not in expected),
        wrong=len(wrong),
        same_report=near or bool(expected) or now.report == quiet.report,
    )


def content(row: Evaluation) -> str:
    """A hash of all that an evaluation says."""
    return hashlib.sha256(json.dumps(row.plain(), sort_keys=True).encode()).hexdigest()


def _equal(a: Evaluation, b: Evaluation) -> bool:
    return content(a) == content(b)


def _near(a: Evaluation, b: Evaluation) -> bool:
    alike = (a.status, a.config.plain()) == (b.status, b.config.plain())
    return alike and math.isclose(
        a.validation_loss, b.validation_loss, rel_tol=SPLIT_TOLERANCE, abs_tol=SPLIT_TOLERANCE
    )


def _runs(database: Path, study: str) -> tuple[dict[str, int], dict[str, int]]:
    """Slot id -> member runs, and values of metrics in them."""
    if not database.is_file():
        return {}, {}
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        rows = db.execute(
            "SELECT e.value, (SELECT COUNT(*) FROM metrics m WHERE m.run_uuid = e.run_uuid)"
            " FROM tags e JOIN tags s ON s.run_uuid = e.run_uuid"
            " WHERE e.key = 'groundrules.evaluation' AND s.key = 'groundrules.study' AND s.value = ?",
            (study,),
        ).fetchall()
    points: Counter[str] = Counter()
    for slot, count in rows:
        points[slot] += count
    return dict(Counter(slot for slot, _ in rows)), dict(points)


def _hashes(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
