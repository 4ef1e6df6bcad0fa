"""The challenge stage of 'always' claims in a real study: which tasks are run again, and what they then say.

Which tasks follows from the confirm rows alone, so that the study, which trains them, and the report, which
judges them, agree however often a run was interrupted. The fresh blocks have numbers beyond the plan's, so
that every stream of theirs is new; they are kept apart from the row's own evidence and never enter it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reports.claims.effects import BlockEffects, pair
from reports.claims.outcome import Challenge
from reports.evidence.arrays import from_rows
from reports.evidence.claim import Claim
from reports.evidence.fairness_checks import CHAIN, EvidenceError, check
from reports.evidence.question import Question
from reports.evidence.test_errors import scores
from reports.statistics import claim_rules
from reports.statistics.compare import FEW_FAMILIES, block_effects
from reports.statistics.reversals import FRESH_BLOCKS, reversal_p, reversed_tasks, worst_tasks
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from reports.evidence.budget import Budget, Margin
    from reports.evidence.study_record import StudyRecord


def challenged(
    claim: Claim,
    question: Question,
    *,
    families: Mapping[str, str],
    margins: Mapping[str, Margin],
    budget: Budget,
    confirmed: Iterable[Evaluation],
) -> tuple[str, ...]:
    """The tasks on which an 'always' claim is challenged, the worst first.

    None where another type of claim is made, where the confirm phase has contradicted it already, and below
    8 families, which cannot carry an 'always'.

    Args:
        claim: of the study.
        question: that it is about.
        families: task -> its family, in planned order: those that the row is judged on.
        margins: task -> its margin in the claim's regime.
        budget: of the study.
        confirmed: all confirm evaluations of the question in the claim's regime.
    """
    if claim.type != "always":
        return ()
    errors, _ = scores(
        confirmed,
        tasks=tuple(families),
        blocks=budget.blocks,
        levels=claim.levels,
        seeds=budget.confirm_seeds,
        arm="tuned",
        trivial={task: margins[task].trivial_error for task in families},
    )
    trained: NDArray[np.bool_] = np.isfinite(errors.sum(axis=(1, 2, 3)))
    tasks = [task for task, whole in zip(families, trained, strict=True) if whole]
    names = list(dict.fromkeys(families[task] for task in tasks))
    if len(names) < FEW_FAMILIES:
        return ()
    delta = np.array([margins[task].delta for task in tasks])
    effects = BlockEffects(
        values=block_effects(errors[trained].mean(axis=-1), delta)[..., 1, 0],
        tasks=tuple(tasks),
        family=np.array([names.index(families[task]) for task in tasks], dtype=np.int64),
        overlap=np.zeros(len(tasks)),
    )
    effect = effects.overall(level=question.alpha / (2 * max(1, len(budget.looks))))
    if claim_rules.states(effect.bounds) == "worse":
        return ()
    return tuple(tasks[t] for t in worst_tasks(effects.by_task))


def extra_cells(
    challenged: Iterable[tuple[Claim, Sequence[str]]], question: Question
) -> dict[str, tuple[str, ...]]:
    """Task -> the levels that are trained on fresh blocks there, in the question's order.

    Args:
        challenged: claims of one question in one regime, with the tasks of each.
        question: theirs.
    """
    cells: dict[str, set[str]] = {}
    for claim, tasks in challenged:
        for task in tasks:
            cells.setdefault(task, set()).update(claim.levels)
    return {
        task: tuple(level for level in question.levels if level in levels) for task, levels in cells.items()
    }


def challenge_of(record: StudyRecord, claim: Claim) -> Challenge | str | None:
    """What the fresh blocks say, why they can say nothing, or None for a claim that is not challenged.

    Args:
        record: whose confirm phase is complete.
        claim: of any type.
    """
    regime = claim.regimes[0]
    question = next(q for q in record.questions if q.factor == claim.factor)
    tasks = challenged(
        claim,
        question,
        families={task: record.facts[task].family for task in record.judged(claim.factor, regime)},
        margins={m.task: m for m in record.margins if m.regime == regime},
        budget=record.budget,
        confirmed=[row for row in record.of(claim.factor, regime) if row.slot.phase == "confirm"],
    )
    if not tasks:
        return None
    rows = [
        row
        for row in record.fresh
        if (row.slot.factor, row.slot.regime) == (claim.factor, regime)
        and row.slot.task in tasks
        and row.slot.level in claim.levels
    ]
    wanted = len(tasks) * FRESH_BLOCKS * len(claim.levels) * record.budget.runs_per_cell
    if len(rows) < wanted:
        return f"its challenge stage is not complete: {len(rows)} of {wanted} runs"
    alone = _alone(record, question, claim, tasks, rows)
    try:
        check(alone)
        _not_seen_before(rows, record)
        evidence = from_rows(
            alone, alone.questions[0], regime, [r for r in alone.evaluations if r.slot.phase == "confirm"]
        )
    except EvidenceError as error:
        return f"its challenge stage is not sound: {error}"
    at = [evidence.levels.index(level) for level in claim.levels]
    blocks = pair(evidence, *at)
    alpha = evidence.question.alpha
    return Challenge(
        blocks=blocks,
        reversed=reversed_tasks(blocks.values, alpha=alpha, overlap=blocks.overlap),
        p=min(1.0, len(tasks) * float(reversal_p(blocks.values, overlap=blocks.overlap).min())),
    )


def _alone(
    record: StudyRecord, question: Question, claim: Claim, tasks: Sequence[str], rows: Sequence[Evaluation]
) -> StudyRecord:
    """The fresh blocks as a study of their own, counted from 0: every guard then looks at them."""
    (regime,) = claim.regimes
    first = record.budget.blocks
    return replace(
        record,
        questions=(
            replace(
                question,
                levels=claim.levels,
                regimes=claim.regimes,
                cost={level: question.cost[level] for level in claim.levels},
            ),
        ),
        tasks={claim.factor: {regime: tuple(tasks)}},
        budget=replace(record.budget, blocks=FRESH_BLOCKS, looks=(len(tasks),)),
        planned={},
        evaluations=tuple(replace(row, slot=replace(row.slot, block=row.slot.block - first)) for row in rows),
        claims=(),
        fresh=(),
    )


def _not_seen_before(rows: Iterable[Evaluation], record: StudyRecord) -> None:
    """EvidenceError where a fresh block repeats one of the row's own, or ran with other versions.

    Fresh streams give other curves.
    """
    usual = {tuple(row.versions.items()) for row in record.evaluations}
    seen = {_trace(row) for row in record.evaluations if row.slot.phase in CHAIN}
    for row in rows:
        if tuple(row.versions.items()) not in usual:
            raise EvidenceError(f"evaluation {row.id} was trained with other versions than the row's own")
        trace = _trace(row)
        if len({loss for _, loss in trace[-1]}) >= 3 and trace in seen:
            raise EvidenceError(
                f"reused block: {row.slot.phase} {row.slot.index} of '{row.slot.level}' on '{row.slot.task}' "
                f"in the fresh block {row.slot.block} repeats an earlier block to the last bit"
            )


def _trace(row: Evaluation) -> tuple[str, str, str, str, str, int, tuple[tuple[int, float], ...]]:
    s = row.slot
    losses = tuple((point.step, point.train_loss) for point in row.curve)
    return (s.factor, s.regime, s.task, s.level, s.phase, s.index, losses)
