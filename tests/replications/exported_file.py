"""Does the exported PyTorch file do as well as the study says, alone and on a fresh split?

    python -m tests.replications.exported_file WORKSPACE STUDY --task digits

Trains the file of a finished study in a process that has torch and numpy only, and compares its test error
with the study's prediction interval for one more training on that task.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from reports.defaults.defaults_file import defaults
from reports.evidence.study_record import StudyRecord
from reports.export.formats import render
from reports.verdicts.verdict import verdicts
from studies.comparison.record import study_record
from studies.ledger.ledger import Ledger
from tests.reports.alone import handed_over, trained_alone
from trainers.tasks import TASKS
from trainers.tasks.task import TaskBook


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The test error of one more training on a task, as the confirm phase predicts it."""

    low: float
    high: float
    mean: float
    n: int
    """Confirm trainings behind it."""

    def holds(self, error: float) -> bool:
        """Whether an error lies inside."""
        return self.low <= error <= self.high


def prediction(record: StudyRecord, task: str, levels: dict[str, str], regime: str) -> Prediction:
    """95 %: mean +- t SD sqrt(1 + 1 / R), over the tuned confirm trainings of the recommended levels.

    The SD is that of single trainings, over rows, blocks and seeds; t has R - 1 degrees of freedom, because
    the R blocks are the splits that were drawn.

    Args:
        record: a complete study.
        task: one that it judged.
        levels: row -> the level that it recommends.
        regime: where.
    """
    runs = [
        (e.slot.block, e.test["best_validation"])
        for factor, level in levels.items()
        for e in record.of(factor, regime)
        if (e.slot.phase, e.arm, e.slot.task, e.slot.level) == ("confirm", "tuned", task, level) and e.test
    ]
    if not runs:
        raise ValueError(f"study '{record.name}' has no confirm trainings on task '{task}' in {regime}")
    blocks, errors = len({block for block, _ in runs}), np.array([error for _, error in runs])
    half = stats.t.ppf(0.975, blocks - 1) * errors.std(ddof=1) * np.sqrt(1 + 1 / blocks)
    mean = float(errors.mean())
    return Prediction(low=mean - float(half), high=mean + float(half), mean=mean, n=len(errors))


def compared(
    record: StudyRecord, task: str, folder: Path, book: TaskBook = TASKS
) -> dict[str, tuple[float, Prediction]]:
    """Regime -> the exported file's test error on a split that the study has not seen, and its prediction."""
    table = defaults(record, verdicts(record))
    file, data = folder / "recipe.py", folder / "task.npz"
    file.write_text(render(table, "python"), encoding="utf-8")
    made = book[task]()
    sizes = {recipe.setting.train_size for recipe in table.recipes}
    fresh = made.split(record.name, record.budget.blocks)
    handed_over(made, fresh, data, train_size=min(sizes))
    found = {}
    for regime, (_, error, _) in trained_alone(file, data).items():
        levels = {row.factor: row.recommended for row in table.rows if row.regime == regime}
        found[regime] = (error, prediction(record, task, levels, regime))
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Prints a line for every regime; 1 where an error lies outside."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("study")
    parser.add_argument("--task", default="digits")
    asked = parser.parse_args(words)
    with Ledger.open(asked.workspace) as ledger:
        record = study_record(ledger, asked.study)
    with tempfile.TemporaryDirectory() as folder:
        found = compared(record, asked.task, Path(folder))
    for regime, (error, expected) in found.items():
        word = "inside" if expected.holds(error) else "OUTSIDE"
        print(
            f"{regime}: test error {error:.4f} of the exported file on {asked.task}, {word} the study's "
            f"prediction interval {expected.low:.4f} to {expected.high:.4f} (mean {expected.mean:.4f} of "
            f"{expected.n} confirm trainings)"
        )
    return 0 if all(expected.holds(error) for error, expected in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
