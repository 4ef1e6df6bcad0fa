"""What an exploratory extension measured: errors by level, and no word on which is better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.evidence.fairness_checks import evidence_status
from reports.evidence.study_record import StudyRecord
from reports.evidence.test_errors import scores


@dataclass(frozen=True, kw_only=True)
class ExploratoryError:
    """One level of one row."""

    factor: str
    regime: str
    level: str
    shared: float | None
    """Mean test error over the tasks on which every level of the row was trained; None: there are none."""
    tasks: int
    """How many these are."""
    all: float | None
    """Mean test error over all tasks that the level was trained on,"""
    own: int
    """and how many these are."""


def measured(record: StudyRecord) -> tuple[ExploratoryError, ...]:
    """Errors of the tuned choice, blocks and seeds averaged; () unless a study was extended unplanned."""
    if not record.extends or evidence_status(record).kind != "exploratory":
        return ()
    results = []
    for question in record.answered:
        for regime in question.regimes:
            tasks, levels = record.tasks[question.factor][regime], question.by_cost
            if not tasks:
                continue
            trivial = {m.task: m.trivial_error for m in record.margins if m.regime == regime}
            errors, _ = scores(
                record.of(question.factor, regime),
                tasks=tasks,
                blocks=record.budget.blocks,
                levels=levels,
                seeds=record.budget.confirm_seeds,
                arm="tuned",
                trivial=trivial,
            )
            by_task = errors.mean(axis=(1, 3))  # [T, L], NaN where a level was not trained to its end
            trained = ~np.isnan(by_task)
            shared = trained.all(axis=1)
            for i, level in enumerate(levels):
                results.append(
                    ExploratoryError(
                        factor=question.factor,
                        regime=regime,
                        level=level,
                        shared=float(by_task[shared, i].mean()) if shared.any() else None,
                        tasks=int(shared.sum()),
                        all=float(by_task[trained[:, i], i].mean()) if trained[:, i].any() else None,
                        own=int(trained[:, i].sum()),
                    )
                )
    return tuple(results)
