"""The course of one row's race: which levels are trained on which tasks, as its confirm rows decide.

A function of the plan and of what was confirmed, and of nothing else: the study asks it what to train next,
and the guards ask it which evaluations may be there. Both therefore agree, whenever a study was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.evidence.budget import Budget, Margin
from reports.evidence.question import Question
from reports.evidence.test_errors import scores
from reports.statistics.compare import FEW_FAMILIES
from reports.statistics.racing import looks_within, race
from trainers.evaluation import Evaluation

Cells = Mapping[str, tuple[str, ...]]
"""Task, in planned order -> the levels that are trained there, in the question's order."""


@dataclass(frozen=True, kw_only=True)
class RaceProgress:
    """How far the race of one row has come."""

    planned: Cells
    """Everything, if no level is ever dropped and the race runs to its last look."""
    called: Cells
    """What it has called for so far."""
    ahead: Cells
    """What it will still call for if no other level is dropped and it does not stop; empty once it has."""
    looks: tuple[int, ...]
    """Families after which it is looked at, where it gets so far."""
    families: int
    """Families called for so far: while it runs, those of the look that it waits for."""
    taken: int
    """Looks taken so far; 0 where there is only the one at the end."""
    dropped: Mapping[str, int]
    """Level -> families at the look that proved it worse by more than a margin; the question's order."""
    beyond: tuple[int, ...] = ()
    """Families after which studies that extend this one may look again."""

    @property
    def ended(self) -> bool:
        """No further family is called for."""
        return not self.ahead

    @property
    def decided(self) -> bool:
        """It raced, and the look that ended it is taken."""
        return self.ended and self.taken > 0 and self.looks[self.taken - 1] == self.families

    @property
    def possible(self) -> Cells:
        """All that may still come to be trained, what was trained included."""
        return {**self.called, **self.ahead}

    @property
    def saved(self) -> tuple[int, int]:
        """(level, task) pairs that need no training any more, and how many were planned."""
        planned = count(self.planned)
        return planned - count(self.possible), planned


def count(cells: Cells) -> int:
    """(level, task) pairs."""
    return sum(map(len, cells.values()))


def race_progress_of(
    question: Question,
    *,
    tasks: Sequence[str],
    families: Sequence[str],
    margins: Mapping[str, Margin],
    budget: Budget,
    confirmed: Iterable[Evaluation],
) -> RaceProgress:
    """The course of one question in one regime.

    With one look, with fewer than 8 families (which speak of these tasks only) and for a control, all levels
    are trained on all tasks. Otherwise a look is taken when every level still in the race is confirmed on
    all tasks of the families before it, both arms; only then the next families are called for.

    Args:
        question: what is compared.
        tasks: that are judged in this regime, in planned order.
        families: of each of them.
        margins: task -> its margin in this regime.
        budget: with the looks.
        confirmed: confirm evaluations of this question and regime.
    """
    names = tuple(dict.fromkeys(families))
    looks = looks_within(budget.looks, len(names)) if budget.looks and names else (len(names),)
    whole: Cells = dict.fromkeys(tasks, question.levels)
    if len(looks) < 2 or len(names) < FEW_FAMILIES or question.control:
        return RaceProgress(
            planned=whole,
            called=whole,
            ahead={},
            looks=(len(names),),
            families=len(names),
            taken=0,
            dropped={},
            beyond=budget.registered,
        )
    family = np.array([names.index(name) for name in families], dtype=np.int64)
    # A task without a margin lets nothing be proved; the guards refuse it by name.
    delta = np.array([margins[task].delta if task in margins else np.nan for task in tasks])
    trivial = {task: margins[task].trivial_error if task in margins else np.nan for task in tasks}
    levels = question.by_cost
    rows = tuple(confirmed)
    tuned, untuned = (
        scores(
            rows, tasks=tasks, blocks=budget.blocks, levels=levels, seeds=budget.confirm_seeds, arm=arm,
            trivial=trivial,
        )[0]
        for arm in ("tuned", "default")
    )  # fmt: skip
    trained: NDArray[np.bool_] = np.asarray(~np.isnan(tuned + untuned).any(axis=(1, 3)))  # [T, L]
    errors = tuned.mean(axis=-1)
    surviving: NDArray[np.bool_] = np.ones(len(levels), dtype=bool)
    called: dict[str, tuple[str, ...]] = {}
    dropped: dict[str, int] = {}

    def cells(inside: NDArray[np.bool_]) -> dict[str, tuple[str, ...]]:
        left = {level for level, alive in zip(levels, surviving, strict=True) if alive}
        own = tuple(level for level in question.levels if level in left)
        return {task: own for task, now in zip(tasks, inside, strict=True) if now}

    ended, reached, used = False, 0, 0
    for place, reached in enumerate(looks, start=1):
        before = looks[place - 2] if place > 1 else 0
        inside = (family >= before) & (family < reached)
        called |= cells(inside)
        if not trained[inside][:, surviving].all():
            # What could not be trained is a gap: the row gets no verdict, so that nothing more is called for.
            ended = any(row.status == "failed" for row in rows)
            break
        ran = race(
            errors[family < reached], delta[family < reached], family[family < reached],
            looks=looks[:place], alpha=question.alpha, planned=len(budget.looks),
        )  # fmt: skip
        for i in np.flatnonzero(surviving & ~ran.surviving):
            dropped[levels[i]] = reached
        surviving, used = ran.surviving, place
        ended = reached == looks[-1] or bool(ran.admissible[ran.surviving.argmax()])
        if ended:
            break
    return RaceProgress(
        planned=whole,
        called={task: called[task] for task in tasks if task in called},
        ahead={} if ended else cells(family >= reached),
        looks=looks,
        families=reached,
        taken=used,
        dropped={level: dropped[level] for level in question.levels if level in dropped},
        beyond=budget.registered,
    )
