"""What MLflow's tables hold of a study, and how what was removed or has moved comes back.

Somebody deletes an experiment or a run on MLflow's pages, `mlflow gc` removes it for good, a workspace is
moved or copied. All statements are of `execute`, with ? for values; both databases take them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Execute = Callable[..., Any]
"""SQL, and a row of values or a list of rows -> a cursor."""

OURS = "experiment_id = ? AND source_name = 'groundrules'"
"""Runs of an experiment that a study has written, not what a person has added."""
RUNS = f"SELECT COUNT(*) FROM runs WHERE {OURS} AND lifecycle_stage = 'active'"
METRICS = (
    "SELECT COUNT(*) FROM metrics WHERE run_uuid IN"
    f" (SELECT run_uuid FROM runs WHERE {OURS} AND lifecycle_stage = 'active' AND run_uuid <> ?)"
)
REVIVING = (
    "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL"
    f" WHERE {OURS} AND lifecycle_stage <> 'active'"
)
ORPHANS = (
    "source_name = 'groundrules' AND experiment_id NOT IN (SELECT experiment_id FROM experiments)"
    " AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'groundrules.study' AND value = ?)"
)
ADOPTING = (
    f"UPDATE runs SET experiment_id = ?, lifecycle_stage = 'active', deleted_time = NULL WHERE {ORPHANS}"
)
LOST_DATA = (
    "SELECT source_id FROM inputs WHERE destination_id = ? AND source_type = 'DATASET' AND source_id NOT IN"
    " (SELECT d.dataset_uuid FROM datasets d JOIN experiments e ON e.experiment_id = d.experiment_id)"
)
MOVING = f"UPDATE runs SET artifact_uri = CAST(? AS TEXT) || '/' || run_uuid || '/artifacts' WHERE {OURS}"
BELOW = "substr(artifact_location, 1, ?) = ?"


class StoredCounts(NamedTuple):
    """What an experiment has of a study's."""

    runs: int
    """That are not deleted."""
    metrics: int
    """Points of theirs; those of the study's own run come and go with its progress."""

    def text(self) -> str:
        """As the experiment's tag."""
        return f"{self.runs} {self.metrics}"

    @staticmethod
    def of(text: str) -> StoredCounts | None:
        """From the tag; None where it says nothing."""
        words = text.split()
        return (
            StoredCounts(*map(int, words)) if len(words) == 2 and all(w.isdecimal() for w in words) else None
        )

    def covers(self, other: StoredCounts | None) -> bool:
        """Whether nothing is missing of what was there; False where nobody noted what that was."""
        return other is not None and self.runs >= other.runs and self.metrics >= other.metrics


def counted(execute: Execute, experiment: int, study_run: str) -> StoredCounts:
    """What is there now."""
    (runs,) = execute(RUNS, (experiment,)).fetchone()
    (metrics,) = execute(METRICS, (experiment, study_run)).fetchone()
    return StoredCounts(int(runs), int(metrics))


def revive(execute: Execute, experiment: int, study: str, study_run: str) -> None:
    """Runs that were deleted on MLflow's pages are back, and those whose experiment was removed have one."""
    execute(REVIVING, (experiment,))
    if execute(ADOPTING, (experiment, study)).rowcount > 0:
        for (data,) in execute(LOST_DATA, (study_run,)).fetchall():  # they come again, of this experiment
            execute("DELETE FROM inputs WHERE source_id = ? AND destination_id = ?", (data, study_run))
            execute("DELETE FROM datasets WHERE dataset_uuid = ?", (data,))


def relocate(execute: Execute, experiment: int, location: str) -> None:
    """An experiment's artifacts, and those of its runs, are at `location`."""
    execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (location, experiment))
    execute(MOVING, (location, experiment))


def relocate_all(execute: Execute, old: str, new: str) -> None:
    """Every experiment whose artifacts were below the address `old` has them below `new`."""
    before = f"{old}/"
    moved = execute(f"SELECT experiment_id FROM experiments WHERE {BELOW}", (len(before), before)).fetchall()
    for (experiment,) in moved:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE experiment_id = ? AND substr({column}, 1, ?) = ?",
                (f"{new}/", len(before) + 1, experiment, len(before), before),
            )
