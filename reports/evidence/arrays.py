"""The evidence of one question in one regime as arrays, from confirm rows that passed the fairness checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reports.evidence.fairness_checks import (
    EvidenceError,
    evidence_status,
    margin_of,
    only_evidence,
    unjudged,
)
from reports.evidence.question import Question
from reports.evidence.race_progress import Cells
from reports.evidence.study_record import StudyRecord, once
from reports.evidence.test_errors import READ_OUT, scores
from reports.statistics.compare import FEW_FAMILIES, Array, Comparison, Unit, compare
from reports.statistics.racing import Race, looks_within, race
from trainers.evaluation import Arm, Evaluation


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Test errors of one row of the table. Axes: T task, R block, L level (cheapest first).

    The tasks are those on which the row was judged: where it raced, up to the look at which it stopped. Of a
    level that an earlier look dropped, errors are NaN on the tasks after it.
    """

    question: Question
    regime: str
    levels: tuple[str, ...]
    tasks: tuple[str, ...]
    families: tuple[str, ...]
    """The families' names, in order of first appearance."""
    family: NDArray[np.int64]
    """[T] index into `families`."""
    real: tuple[bool, ...]
    """[T] declared as measured data."""
    generated: tuple[bool, ...]
    """[T] drawn by a rule of ours; what is neither is a user's own, and may be either."""
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
        """What intervals are over: with fewer than 8 families conclusions are about these tasks only."""
        return "families" if len(self.families) >= FEW_FAMILIES else "splits"

    def textbook(self) -> NDArray[np.bool_]:
        """[L] which of the compared levels the textbook names."""
        named = self.question.textbook.get(self.regime, ())
        return np.array([level in named for level in self.levels], dtype=np.bool_)

    @property
    def present(self) -> NDArray[np.bool_]:
        """[L] levels that were trained on every task."""
        return np.asarray(~np.isnan(self.tuned).any(axis=(0, 1)))

    def of(self, *levels: str) -> Evidence:
        """The same evidence on the tasks where all of these levels were trained."""
        columns = [self.levels.index(level) for level in levels]
        trained = np.asarray(~np.isnan(self.tuned[..., columns]).any(axis=(1, 2)))
        return self if trained.all() else self.on(trained)

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
        return self.on(self.family != family)

    def on(self, keep: NDArray[np.bool_]) -> Evidence:
        """The same evidence on some of the tasks."""
        indices = np.flatnonzero(keep)
        left, family = np.unique(self.family[keep], return_inverse=True)
        return replace(
            self,
            tasks=tuple(self.tasks[t] for t in indices),
            families=tuple(self.families[f] for f in left),
            family=family.astype(np.int64),
            real=tuple(self.real[t] for t in indices),
            generated=tuple(self.generated[t] for t in indices),
            percent=tuple(self.percent[t] for t in indices),
            delta=self.delta[keep],
            tuned=self.tuned[keep],
            untuned=self.untuned[keep],
            overlap=self.overlap[keep],
        )


@once
def gather(record: StudyRecord) -> tuple[Evidence, ...]:
    """The evidence for every row that has a task to be judged on, by question and regime.

    Raises:
        EvidenceError: The study is interim, exploratory, or fails a fairness check.
    """
    now = evidence_status(record)
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
    called = record.courses[question.factor, regime].called
    tasks = tuple(called)
    facts = [record.facts[task] for task in tasks]
    families = tuple(dict.fromkeys(fact.family for fact in facts))
    usual = int(str(record.regimes[regime].get("train_size", 10**9)))
    train_size = min(question.settings("train_size", usual))  # the widest intervals of all levels
    tuned, finished = _mean_errors(record, regime, called, levels, rows, "tuned", read_out)
    return Evidence(
        question=question,
        regime=regime,
        levels=levels,
        tasks=tasks,
        families=families,
        family=np.array([families.index(fact.family) for fact in facts], dtype=np.int64),
        real=tuple(fact.real for fact in facts),
        generated=tuple(fact.origin == "generated" for fact in facts),
        percent=tuple(fact.kind == "classification" for fact in facts),
        delta=np.array([margin_of(record, task, regime).delta for task in tasks]),
        tuned=tuned,
        untuned=_mean_errors(record, regime, called, levels, rows, "default", read_out)[0],
        finished=finished,
        overlap=np.array([f.n_test / max(1, min(train_size, (f.items - f.n_test) * 4 // 5)) for f in facts]),
        seeds=record.budget.confirm_seeds,
        ids=tuple(row.id for row in rows if row.arm == "tuned"),
    )


def _mean_errors(
    record: StudyRecord,
    regime: str,
    called: Cells,
    levels: tuple[str, ...],
    rows: list[Evaluation],
    arm: Arm,
    read_out: str,
) -> tuple[Array, Array]:
    """[T, R, L] mean test errors over confirm seeds, and [L] the share of members that finished.

    NaN where the race had dropped the level, and nowhere else.
    """
    tasks = tuple(called)
    errors, finished = scores(
        rows,
        tasks=tasks,
        blocks=record.budget.blocks,
        levels=levels,
        seeds=record.budget.confirm_seeds,
        arm=arm,
        read_out=read_out,
        trivial={task: margin_of(record, task, regime).trivial_error for task in tasks},
    )
    wanted = np.array([[level in called[task] for level in levels] for task in tasks])
    empty = np.argwhere(np.isnan(errors) & wanted[:, None, :, None])
    if len(empty):
        t, r, level, _ = empty[0]
        where = f"task '{tasks[t]}', block {r}, level '{levels[level]}' in {regime}"
        raise EvidenceError(f"missing cell: {where} has no confirm run of the {arm} arm")
    return errors.mean(axis=-1), np.nanmean(finished, axis=(0, 1, 3))


def families_of(evidence: Evidence) -> tuple[set[int], set[int]]:
    """The families that have a task of measured data; and those of a user's own tasks alone."""
    places = list(zip(evidence.family.tolist(), evidence.real, evidence.generated, strict=True))
    real = {family for family, measured, _ in places if measured}
    drawn = {family for family, _, generated in places if generated}
    return real, {family for family, *_ in places} - real - drawn
