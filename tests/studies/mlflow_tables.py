"""What a tracking store holds of a study, read from MLflow's own tables, by the ids that the ledger gives."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Ask = Callable[[str], list[tuple[Any, ...]]]
"""Rows of a SELECT."""

OF_THE_SERVER = ("groundrules.id", "groundrules.after", "mlflow.parentRunId")
"""Tags that differ between the stores: a server chooses ids of its own."""
OF_THE_MOMENT = ("mlflow.note.content",)
SAYING = {
    "runs": "name, status",
    "tags": "key, value",
    "params": "key, value",
    "metrics": "key, value, is_nan, timestamp, step",
    "latest_metrics": "key, value, is_nan, step",
}
"""MLflow's tables and what they say of a run."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """The runs of one experiment that are not deleted."""

    runs: Counter[Any]
    """Our id -> how many; more than one is doubled."""
    parents: dict[Any, Any]
    """Our id -> our id of the run above."""
    rows: Counter[Any]
    """Every other row that says something: state, tag, parameter, point, latest point."""


def sqlite(file: Path) -> Ask:
    """Asks an SQLite file."""

    def ask(question: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=20)) as store:
            return store.execute(question).fetchall()

    return ask


def held(ask: Ask, study: str) -> Held:
    """Everything of a study but what hangs on the moment."""
    alive = f"""run_uuid IN (
        SELECT r.run_uuid FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
        WHERE e.name = '{study}' AND r.lifecycle_stage = 'active')"""
    tagged = "SELECT run_uuid, value FROM tags WHERE key = '{}' AND {}"
    named: dict[str, str] = dict(ask(tagged.format("groundrules.id", alive)))
    above = ask(tagged.format("mlflow.parentRunId", alive))
    ours: dict[Any, Any] = {
        run: named.get(run, run) for (run,) in ask(f"SELECT run_uuid FROM runs WHERE {alive}")
    }
    rows: Counter[Any] = Counter()
    for table, columns in SAYING.items():
        for run, *values in ask(f"SELECT run_uuid, {columns} FROM {table} WHERE {alive}"):
            said = str(values[0])
            if said not in (*OF_THE_SERVER, *OF_THE_MOMENT) and not said.startswith("progress/"):
                rows[table, ours[run], *map(_plain, values)] += 1
    return Held(
        runs=Counter(ours.values()), parents={ours[run]: ours.get(up, up) for run, up in above}, rows=rows
    )


def _plain(value: Any) -> Any:
    """SQLite says 0 and 1 where PostgreSQL says false and true."""
    return int(value) if isinstance(value, bool) else value
