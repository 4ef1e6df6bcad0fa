"""The books of a store by MLflow's own code: a database's or a server's, which answer to the same calls."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from studies.tracking.experiment import StoredExperiment, StudyState, data_set

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


class MlflowClientStore:
    """`studies.tracking.experiment.ExperimentStore` of an SqlAlchemyStore or a RestStore."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def find(self, name: str) -> StoredExperiment | None:
        found = self._store.get_experiment_by_name(name)
        if found is None:
            return None
        return StoredExperiment(
            id=str(found.experiment_id),
            location=str(found.artifact_location),
            active=found.lifecycle_stage == "active",
            tags=dict(found.tags),
        )

    def make(self, name: str, location: str | None, tags: Mapping[str, str]) -> None:
        from mlflow.entities import ExperimentTag

        self._store.create_experiment(name, location, [ExperimentTag(*pair) for pair in tags.items()])

    def restore(self, experiment: str) -> None:
        self._store.restore_experiment(experiment)

    def tag(self, experiment: str, key: str, value: str) -> None:
        from mlflow.entities import ExperimentTag

        self._store.set_experiment_tag(experiment, ExperimentTag(key, value))

    def log_datasets(self, experiment: str, run: str, facts: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag("mlflow.data.context", "training")]
        inputs = [DatasetInput(dataset=Dataset(**data_set(one)), tags=tags) for one in facts]
        self._store.log_inputs(run, inputs)

    def note(self, run: str, state: StudyState) -> None:
        from mlflow.entities import Metric, RunStatus, RunTag

        metrics = [Metric(key, value, state.now_ms, state.step) for key, value in state.metrics.items()]
        self._store.log_batch(run, metrics, [], [RunTag(*pair) for pair in state.tags.items()])
        status = RunStatus.from_string(state.status)
        self._store.update_run_info(run, status, state.now_ms if state.ended else None, None)

    def status(self, run: str) -> str:
        return str(self._store.get_run(run).info.status)

    def artifacts(self, run: str) -> str:
        return str(self._store.get_run(run).info.artifact_uri)
