"""What is alike in every store of MLflow's: the experiment of a study, whose it is, how far it is.

MLflow's stores for a database and for a server answer to the same calls; everything rare goes through them.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.config import digest
from studies.mirroring.detail import DETAILS, Detail, contains
from studies.mirroring.runs import INTERIM, Point, Run

if TYPE_CHECKING:
    from studies.ledger import StudyRow
    from studies.training.progress import Standing

SEQUENCE = "groundrules.sequence"
"""The experiment's tag that says how much of the ledger it holds,"""
SHOWN = "groundrules.tracking"
"""at which detail,"""
OWNER = "groundrules.ledger"
"""and of which ledger: studies of one name in two ledgers are two studies."""
LARGEST = sys.float_info.max
"""MLflow stores infinities as the largest double."""
LONGEST_TAG = 5000
"""Characters; MLflow's limit is 8,000 and on PostgreSQL an error."""

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
}


def quieten() -> None:
    """Called before MLflow is loaded: it reads these once, and some of them call home."""
    os.environ.update(QUIET)
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # or it tells how it makes its tables


class Refused(ValueError):
    """What no repetition mends: somebody else's experiment, a database of another version."""


def owner(row: StudyRow) -> str:
    """Which study of this name it is: two ledgers never start one at the same millisecond."""
    return digest({"study": row.name, "protocol": row.protocol_hash, "started": row.started_ms}, size=16)


class Experiment:
    """One study's experiment, found or made."""

    def __init__(self, store: Any, row: StudyRow, *, location: str | None, shared: bool) -> None:
        """Looks for it.

        Args:
            store: MLflow's, of a database or of a server.
            row: the study.
            location: of its artifacts, where it has to be made; None: the server decides.
            shared: others write to this store too.

        Raises:
            Refused: an experiment of that name is there and not this study's.
        """
        self._store = store
        found = store.get_experiment_by_name(row.name)
        if found is None:
            found = store.get_experiment(self._make(row, location, shared=shared))
        elif shared and found.tags.get(OWNER) != owner(row):
            raise Refused(
                f"MLflow has an experiment '{row.name}' of another ledger (id {found.experiment_id}); "
                "rename the study, or delete that experiment for good"
            )
        elif found.lifecycle_stage != "active":
            store.restore_experiment(found.experiment_id)
        self.id = str(found.experiment_id)
        self.location = str(found.artifact_location)
        self.tags: dict[str, str] = dict(found.tags)
        """As they were then, and as `tag` has set them."""

    def _make(self, row: StudyRow, location: str | None, *, shared: bool) -> str:
        from mlflow.entities import ExperimentTag

        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.note.content": f"Groundrules study '{row.name}'. Evidence: only the runs with the tag "
            "groundrules.evidence = true. The answer is in the report of the study run.",
            "mlflow.experiment.primaryMetric.name": "validation/metric",
            "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
            "groundrules.study": row.name,
            **({OWNER: owner(row)} if shared else {}),
        }
        rows = [ExperimentTag(key, value) for key, value in tags.items()]
        return str(self._store.create_experiment(row.name, location, rows))

    def sequence(self, detail: Detail) -> int:
        """The ledger's sequence up to which everything is here that this detail shows."""
        held = self.tags.get(SHOWN, "members")  # before there was a choice
        if held not in DETAILS or not contains(held, detail):
            return 0
        return int(self.tags.get(SEQUENCE, 0))

    def tag(self, key: str, value: str) -> None:
        """Sets one of the experiment's tags."""
        from mlflow.entities import ExperimentTag

        if self.tags.get(key) == value:
            return
        self._store.set_experiment_tag(self.id, ExperimentTag(key, value))
        self.tags[key] = value

    def log_datasets(self, run: str, tasks: Sequence[Mapping[str, Any]]) -> None:
        """The study's data sets as inputs of its run; MLflow keeps each digest once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                dataset=Dataset(
                    name=facts["name"],
                    digest=facts["content_hash"][:36],
                    source_type="groundrules",
                    source=facts["source"] or facts["name"],
                    profile=f'{{"items": {facts["items"]}, "features": {facts["features"]}}}',
                ),
                tags=[InputTag("mlflow.data.context", "training")],
            )
            for facts in tasks
        ]
        self._store.log_inputs(run, inputs)

    def ended(self, run: str) -> bool:
        """Whether the run has been closed as finished."""
        return bool(self._store.get_run(run).info.status == "FINISHED")

    def progress(self, run: str, standing: Standing, *, last: bool, answer: str) -> None:
        """How far the study is, as metrics and as the text on top of its run."""
        from mlflow.entities import Metric, RunStatus, RunTag

        now = time.time_ns() // 1_000_000
        complete = last and standing.complete
        values = {
            "progress/members_done": standing.finished,
            "progress/members_planned": standing.planned,
            "progress/members_per_second": standing.rate,
            "progress/seconds_left": standing.seconds_left or 0.0,
            "progress/diverged": standing.diverged,
            "progress/pruned": standing.pruned,
        }
        metrics = [Metric(key, float(value), now, standing.finished) for key, value in values.items()]
        text = standing.sentence()
        note = f"{text}. {answer}" if complete else f"{text} ({INTERIM})"
        status = RunStatus.FINISHED if complete else RunStatus.KILLED if last else RunStatus.RUNNING
        tags = {f"groundrules.failed_attempts.{kind}": str(n) for kind, n in standing.failures.items()}
        said = [RunTag(key, value) for key, value in {**tags, "mlflow.note.content": note}.items()]
        self._store.log_batch(run, metrics, [], said)
        self._store.update_run_info(run, status, now if last else None, None)


def status_of(run: Run) -> str:
    """MLflow's word for how a run stands."""
    if run.running:
        return "RUNNING"
    return "KILLED" if run.killed else "FINISHED"


def tags_of(run: Run, parent: str) -> dict[str, str]:
    """The run's own tags and the ones MLflow reads; empty ones are left out."""
    named = {"mlflow.runName": run.name, "mlflow.user": "groundrules", "mlflow.parentRunId": parent}
    return {key: value[:LONGEST_TAG] for key, value in {**run.tags, **named}.items() if value}


def metric_of(run_id: str, point: Point) -> tuple[Any, ...]:
    """A row of MLflow's two tables of metrics: run, key, value, whether it is NaN, time, step."""
    value = float(point.value)
    bad = math.isnan(value)
    kept = 0.0 if bad else max(-LARGEST, min(LARGEST, value))
    return (run_id, point.key, kept, bad, point.ms, point.step)
