"""What was hashed before training is what a report reads; anything else is refused by name."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from studies.comparison.record import study_record
from studies.ledger.contract import LedgerDamaged
from studies.ledger.ledger import FILE, Ledger
from tests.studies.planted import agenda_of, started, train_all
from tests.studies.tampering import unseal


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A complete small study."""
    ledger, fixed = started(tmp_path)
    with ledger:
        train_all(agenda_of(ledger, fixed))
    return tmp_path


def edit(workspace: Path, table: str, column: str, change: Any) -> None:
    """Changes one JSON cell of the ledger behind everyone's back, and makes its seal right."""
    with sqlite3.connect(workspace / FILE) as db:
        row, text = db.execute(f"SELECT rowid, {column} FROM {table}").fetchone()
        data = json.loads(text)
        change(data)
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (json.dumps(data), row))
    unseal(workspace)
    Ledger.open(workspace, create=True).close()


def test_an_untouched_study_is_read(workspace: Path) -> None:
    with Ledger.open(workspace) as ledger:
        record = study_record(ledger, "tiny")
    assert len(record.evaluations) == sum(record.planned.values())


@pytest.mark.parametrize(
    ("table", "column", "change", "said"),
    [
        ("studies", "protocol", lambda data: data["spec"].update(alpha=0.2), "its protocol was changed"),
        ("plans", "plan", lambda data: data.update(forged=1), "its plan was changed"),
        ("margins", "margin", lambda data: data.update(delta=9.0), "margins: they are not those of the plan"),
    ],
)
def test_what_was_changed_after_its_hash_is_refused(
    table: str, column: str, change: Any, said: str, workspace: Path
) -> None:
    edit(workspace, table, column, change)
    with Ledger.open(workspace) as ledger, pytest.raises((ValueError, LedgerDamaged), match=said):
        study_record(ledger, "tiny")
