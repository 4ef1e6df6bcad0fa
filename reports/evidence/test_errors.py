"""Confirm rows as a table of errors, with gaps where nothing was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from reports.statistics.compare import Array
from trainers.evaluation import Arm, Evaluation

READ_OUT = "best_validation"
"""The primary read-out: the checkpoint with the best validation metric."""


def scores(
    rows: Iterable[Evaluation],
    *,
    tasks: Sequence[str],
    blocks: int,
    levels: Sequence[str],
    seeds: int,
    arm: Arm,
    trivial: Mapping[str, float],
    read_out: str = READ_OUT,
) -> tuple[Array, Array]:
    """Test errors of one arm, and which of its members finished.

    A diverged member scores like the trivial predictor of its task; it is never dropped.

    Args:
        rows: confirm evaluations of one question in one regime; others are passed over.
        tasks: the T tasks.
        blocks: R of each.
        levels: the L levels.
        seeds: S confirm seeds of each arm.
        arm: which one.
        trivial: task -> the trivial predictor's error.
        read_out: which of the read-outs of a member's one test read.

    Returns:
        [T, R, L, S] errors, NaN where no usable run is there; the same shape, 1 where a member finished, 0
        where it diverged, NaN where there is none.
    """
    errors = np.full((len(tasks), blocks, len(levels), seeds), np.nan)
    finished = np.full_like(errors, np.nan)
    at_task = {task: t for t, task in enumerate(tasks)}
    at_level = {level: i for i, level in enumerate(levels)}
    first = 0 if arm == "tuned" else seeds
    for row in rows:
        s = row.slot
        if s.phase != "confirm" or row.arm != arm or row.status == "failed":
            continue
        if s.task not in at_task or s.level not in at_level:
            continue
        if not (0 <= s.block < blocks and 0 <= s.index - first < seeds):
            continue
        place = (at_task[s.task], s.block, at_level[s.level], s.index - first)
        ran = row.status == "finished"
        errors[place] = (row.test or {}).get(read_out, np.nan) if ran else trivial[s.task]
        finished[place] = float(ran)
    return errors, finished
