"""The tasks that ship: published tables, signals and procedural families. One row each."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from trainers.task import TaskBook
from trainers.tasks import boundaries, mixtures, rules, sequences, surfaces
from trainers.tasks.procedure import Procedure
from trainers.tasks.roles import Role
from trainers.tasks.stored import STORED, StoredTable
from trainers.tasks.tables import TABLES, Table

ROWS: tuple[Table | StoredTable | Procedure, ...] = (
    *TABLES,
    *STORED,
    *sequences.PROCEDURES,
    *boundaries.PROCEDURES,
    *mixtures.PROCEDURES,
    *rules.PROCEDURES,
    *surfaces.PROCEDURES,
)

TASKS: TaskBook = {row.name: functools.cache(row.task) for row in ROWS}
"""Name -> the function that makes the task, once per process."""

FAMILIES: Mapping[str, str] = {row.name: row.family for row in ROWS}
"""Name -> family (the statistical unit), without making the task."""

ROLES: Mapping[str, Role] = {row.name: row.role for row in ROWS}
"""Name -> what the task may be used for, settled before any run."""
