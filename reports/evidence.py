"""The evidence of one question in one regime as arrays, taken from confirm rows that passed the guards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reports.compare import FEW_FAMILIES, Array, Comparison, Unit, compare
from reports.guards import READ_OUT, EvidenceError, margin_of, only_evidence, standing, unjudged
from reports.question import Question
from reports.racing import Race, looks_within, race
from reports.record import StudyRecord
from trainers.evaluation import Arm, Evaluation


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Test errors of one row of the table. Axes: T task, R block, L level (cheapest first)."""

    question: Question
    regime: str
    levels: tuple[str, ...]
    tasks: tuple[str, ...]
    families: tuple[str, ...]
    """The families' names, in order of first appearance."""
    family: NDArray[np.int64]
    """[T] index into `families`."""
    real: tuple[bool, ...]
    """[T] measured data, not generated."""
    percent: tuple[bool, ...]
    """[T] the error is a share, so that 0.01 is a percentage point; otherwise it is in target SDs."""
    delta: Array
    """[T] margins, in each task's metric."""
    tuned: Array
    """[T, R, L] mean over confirm seeds of the tuned arm: what verdicts are made of."""
    untuned: Array
    """[T, R, L] the same for the level's library defaults (the k = 1 arm)."""
    finished: Array
    """[L] share of tuned confirm members that did not diverge."""
    overlap: Array
    """[T] test items per training item, for intervals over splits."""
    seeds: int
    ids: tuple[str, ...]
    """Ids of the tuned confirm evaluations, sorted."""

    @property
    def over(self) -> Unit:
        """What intervals are over: with fewer than 8 families only these tasks are spoken of."""
        return "families" if len(self.families) >= FEW_FAMILIES else "splits"

    def textbook(self) -> NDArray[np.bool_]:
        """[L] which of the compared levels the textbook names."""
        named = self.question.textbook.get(self.regime, ())
        return np.array([level in named for level in self.levels], dtype=np.bool_)

    @property
    def listed(self) -> bool:
        """The textbook's table has this row."""
        return bool(self.question.textbook.get(self.regime))

    def compared(self, *, looks: int, over: Unit | None = None) -> Comparison:
        """Every pair of levels, in margin units."""
        return compare(
            self.tuned,
            self.delta,
            self.family,
            alpha=self.question.alpha,
            looks=looks,
            over=over or self.over,
            overlap=self.overlap,
        )

    def raced(self, looks: Sequence[int]) -> Race:
        """The race over these families in their planned order, at most to the last look."""
        return race(
            self.tuned,
            self.delta,
            self.family,
            looks=looks_within(looks, len(self.families)),
            alpha=self.question.alpha,
            planned=len(looks),
            overlap=self.overlap,
        )

    def with_margins(self, scale: float) -> Evidence:
        """The same errors judged by margins `scale` times as wide."""
        return replace(self, delta=self.delta * scale)

    def without(self, family: int) -> Evidence:
        """The same evidence without the tasks of one family."""
        keep = self.family != family
        indices = np.flatnonzero(keep)
        return replace(
            self,
            tasks=tuple(self.tasks[t] for t in indices),
            families=tuple(name for f, name in enumerate(self.families) if f != family),
            family=self.family[keep] - (self.family[keep] > family),
            real=tuple(self.real[t] for t in indices),
            percent=tuple(self.percent[t] for t in indices),
            delta=self.delta[keep],
            tuned=self.tuned[keep],
            untuned=self.untuned[keep],
            overlap=self.overlap[keep],
        )


def gather(record: StudyRecord) -> tuple[Evidence, ...]:
    """The evidence for every row that has a task to be judged on, by question and regime.

    Raises:
        EvidenceError: The study is interim, exploratory, or breaks a guard.
    """
    now = standing(record)
    if now.kind != "evidence":
        raise EvidenceError(f"no verdict for study '{record.name}' ({now.kind}): {now.reason}")
    gaps = unjudged(record)
    rows: dict[tuple[str, str], list[Evaluation]] = {}
    for row in record.evaluations:
        if row.slot.phase == "confirm":
            rows.setdefault((row.slot.factor, row.slot.regime), []).append(row)
    return tuple(
        from_rows(record, question, regime, rows.get((question.factor, regime), ()))
        for question in record.questions
        for regime in question.regimes
        if (question.factor, regime) not in gaps
    )


def from_rows(
    record: StudyRecord,
    question: Question,
    regime: str,
    rows: Iterable[Evaluation],
    *,
    read_out: str = READ_OUT,
) -> Evidence:
    """Arrays from the given confirm rows; EvidenceError for rows of other phases or an empty cell.

    Verdicts are made of the primary read-out; another one is a check of them.
    """
    rows = sorted(rows, key=lambda row: row.id)
    only_evidence(rows)
    levels = question.by_cost
    tasks = record.tasks[question.factor][regime]
    facts = [record.facts[task] for task in tasks]
    families = tuple(dict.fromkeys(fact.family for fact in facts))
    usual = int(str(record.regimes[regime].get("train_size", 10**9)))
    train_size = min(question.settings("train_size", usual))  # the widest intervals of all levels
    tuned, finished = _mean_errors(record, regime, tasks, levels, rows, "tuned", read_out)
    return Evidence(
        question=question,
        regime=regime,
        levels=levels,
        tasks=tasks,
        families=families,
        family=np.array([families.index(fact.family) for fact in facts], dtype=np.int64),
        real=tuple(fact.real for fact in facts),
        percent=tuple(fact.kind == "classification" for fact in facts),
        delta=np.array([margin_of(record, task, regime).delta for task in tasks]),
        tuned=tuned,
        untuned=_mean_errors(record, regime, tasks, levels, rows, "default", read_out)[0],
        finished=finished,
        overlap=np.array([f.n_test / max(1, min(train_size, (f.items - f.n_test) * 4 // 5)) for f in facts]),
        seeds=record.budget.confirm_seeds,
        ids=tuple(row.id for row in rows if row.arm == "tuned"),
    )


def _mean_errors(
    record: StudyRecord,
    regime: str,
    tasks: tuple[str, ...],
    levels: tuple[str, ...],
    rows: list[Evaluation],
    arm: Arm,
    read_out: str,
) -> tuple[Array, Array]:
    """[T, R, L] mean test errors over confirm seeds, and [L] the share of members that finished.

    A diverged member scores like the trivial predictor of its task; it is never dropped.
    """
    budget = record.budget
    errors = np.full((len(tasks), budget.blocks, len(levels), budget.confirm_seeds), np.nan)
    finished = np.zeros_like(errors)
    first = 0 if arm == "tuned" else budget.confirm_seeds
    for row in rows:
        if row.arm != arm or row.status == "failed":
            continue
        s = row.slot
        place = (tasks.index(s.task), s.block, levels.index(s.level), s.index - first)
        if row.status == "diverged":
            errors[place] = margin_of(record, s.task, regime).trivial_error
        else:
            errors[place] = (row.test or {})[read_out]
            finished[place] = 1.0
    empty = np.argwhere(np.isnan(errors))
    if len(empty):
        t, r, level, _ = empty[0]
        where = f"task '{tasks[t]}', block {r}, level '{levels[level]}' in {regime}"
        raise EvidenceError(f"missing cell: {where} has no confirm run of the {arm} arm")
    return errors.mean(axis=-1), finished.mean(axis=(0, 1, 3))
