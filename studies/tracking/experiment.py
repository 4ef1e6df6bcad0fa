"""What is alike in every store of MLflow's: the experiment of a study, whose it is, how far it is."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from search_spaces.config import digest
from studies.spec.tracking_detail import DETAILS, Detail, contains
from studies.tracking.runs import INTERIM, MetricPoint, RunRecord

if TYPE_CHECKING:
    from studies.execution.progress import StudyProgress
    from studies.ledger.ledger import StudyRow

SEQUENCE = "groundrules.sequence"
"""The experiment's tag that says how much of the ledger it holds,"""
SHOWN = "groundrules.tracking"
"""at which detail,"""
HELD = "groundrules.held"
"""how many runs and points that made, so that a removal is noticed,"""
OWNER = "groundrules.ledger"
"""and of which ledger: studies of one name in two ledgers are two studies."""
LARGEST = sys.float_info.max
"""MLflow stores infinities as the largest double."""
LONGEST_TAG = 5000
"""Characters; MLflow's limit is 8,000 and on PostgreSQL an error."""


class Refused(ValueError):
    """What no repetition mends: somebody else's experiment, a database of another version."""


class Removed(RuntimeError):
    """Somebody has removed a part of what was written; whoever opens the store again writes it again."""


def owner(row: StudyRow) -> str:
    """Which study of this name it is: two ledgers never start one at the same millisecond."""
    return digest({"study": row.name, "protocol": row.protocol_hash, "started": row.started_ms}, size=16)


@dataclass(frozen=True, kw_only=True)
class StoredExperiment:
    """An experiment as a store holds it."""

    id: str
    location: str
    """Address of its artifacts."""
    active: bool
    """False: it has been deleted, and can be restored."""
    tags: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """How far a study is, for its run."""

    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    step: int
    now_ms: int
    status: str
    """MLflow's word."""
    ended: bool


class ExperimentStore(Protocol):
    """What a store of MLflow's is asked beside runs, and seldom. Ids of runs are the store's own."""

    def find(self, name: str) -> StoredExperiment | None:
        """The experiment of that name, deleted or not."""

    def make(self, name: str, location: str | None, tags: Mapping[str, str]) -> None:
        """A new one; without a location of its own the store decides."""

    def restore(self, experiment: str) -> None:
        """Takes back that it was deleted, and its runs."""

    def tag(self, experiment: str, key: str, value: str) -> None:
        """Sets one of its tags."""

    def log_datasets(self, experiment: str, run: str, facts: Sequence[Mapping[str, Any]]) -> None:
        """Data sets, by a task's facts, as inputs of a run; each digest is kept once."""

    def note(self, run: str, state: StudyState) -> None:
        """What is known of a run by now, in place of what was."""

    def status(self, run: str) -> str:
        """How a run stands, by MLflow's word."""

    def artifacts(self, run: str) -> str:
        """The address of a run's artifacts."""


class Experiment:
    """One study's experiment, found or made."""

    def __init__(self, books: ExperimentStore, row: StudyRow, *, location: str | None, shared: bool) -> None:
        """Looks for it.

        Args:
            books: of a database or of a server.
            row: the study.
            location: of its artifacts, where it has to be made; None: the server decides.
            shared: others write to this store too.

        Raises:
            Refused: an experiment of that name is there and not this study's.
        """
        self._books = books
        found = books.find(row.name)
        if found is None:
            books.make(row.name, location, _first_tags(row, shared=shared))
            found = books.find(row.name)
            assert found is not None
        elif shared and found.tags.get(OWNER) != owner(row):
            raise Refused(
                f"MLflow has an experiment '{row.name}' of another ledger (id {found.id}); "
                "rename the study, or delete that experiment for good"
            )
        elif not found.active:
            books.restore(found.id)
        self.id = found.id
        self.location = found.location
        self.tags = found.tags
        """As they were then, and as `tag` has set them."""

    def sequence(self, detail: Detail) -> int:
        """The ledger's sequence up to which everything is here that this detail shows."""
        held = self.tags.get(SHOWN, "members")  # before there was a choice
        if held not in DETAILS or not contains(held, detail):
            return 0
        return int(self.tags.get(SEQUENCE, 0))

    def tag(self, key: str, value: str) -> None:
        """Sets one of the experiment's tags."""
        if self.tags.get(key) != value:
            self._books.tag(self.id, key, value)
            self.tags[key] = value

    def log_datasets(self, run: str, facts: Sequence[Mapping[str, Any]]) -> None:
        """The study's data sets as inputs of its run."""
        self._books.log_datasets(self.id, run, facts)

    def ended(self, run: str) -> bool:
        """Whether the run has been closed as finished."""
        return self._books.status(run) == "FINISHED"

    def progress(self, run: str, standing: StudyProgress, *, last: bool, answer: str) -> None:
        """How far the study is, as metrics and as the text on top of its run."""
        complete = last and standing.complete
        text = standing.sentence()
        note = f"{text}. {answer}" if complete else f"{text} ({INTERIM})"
        failed = {f"groundrules.failed_attempts.{kind}": str(n) for kind, n in standing.failures.items()}
        self._books.note(
            run,
            StudyState(
                metrics={
                    "progress/members_done": float(standing.finished),
                    "progress/members_planned": float(standing.planned),
                    "progress/members_per_second": standing.rate,
                    "progress/seconds_left": standing.seconds_left or 0.0,
                    "progress/diverged": float(standing.diverged),
                    "progress/pruned": float(standing.pruned),
                },
                tags={**failed, "mlflow.note.content": note},
                step=standing.finished,
                now_ms=time.time_ns() // 1_000_000,
                status="FINISHED" if complete else "KILLED" if last else "RUNNING",
                ended=last,
            ),
        )


def data_set(facts: Mapping[str, Any]) -> dict[str, str]:
    """A task's data as MLflow describes a data set: name, digest, source_type, source, profile."""
    return {
        "name": facts["name"],
        "digest": facts["content_hash"][:36],
        "source_type": "groundrules",
        "source": facts["source"] or facts["name"],
        "profile": f'{{"items": {facts["items"]}, "features": {facts["features"]}}}',
    }


def _first_tags(row: StudyRow, *, shared: bool) -> dict[str, str]:
    return {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.note.content": f"Groundrules study '{row.name}'. Evidence: only the runs with the tag "
        "groundrules.evidence = true. The answer is in the report of the study run.",
        "mlflow.experiment.primaryMetric.name": "validation/metric",
        "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
        "groundrules.study": row.name,
        **({OWNER: owner(row)} if shared else {}),
    }


def status_of(run: RunRecord) -> str:
    """MLflow's word for how a run stands."""
    if run.running:
        return "RUNNING"
    return "KILLED" if run.killed else "FINISHED"


def tags_of(run: RunRecord, parent: str) -> dict[str, str]:
    """The run's own tags and the ones MLflow reads; empty ones are left out."""
    named = {"mlflow.runName": run.name, "mlflow.user": "groundrules", "mlflow.parentRunId": parent}
    return {key: value[:LONGEST_TAG] for key, value in {**run.tags, **named}.items() if value}


def metric_of(run_id: str, point: MetricPoint) -> tuple[Any, ...]:
    """A row of MLflow's two tables of metrics: run, key, value, whether it is NaN, time, step."""
    value = float(point.value)
    bad = math.isnan(value)
    kept = 0.0 if bad else max(-LARGEST, min(LARGEST, value))
    return (run_id, point.key, kept, bad, point.ms, point.step)
