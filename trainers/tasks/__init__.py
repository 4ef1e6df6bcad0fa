"""All tasks by name: published tables, signals, pictures, procedural families, image sets. One row each."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from trainers.tasks import boolean_rules, boundaries, images, mixtures, pictures, sequences, surfaces
from trainers.tasks.bundled_tables import STORED, StoredTable
from trainers.tasks.images import ImageSet
from trainers.tasks.roles import Role
from trainers.tasks.synthetic import SyntheticTask
from trainers.tasks.tables import TABLES, ScikitTable
from trainers.tasks.task import TaskBook

ROWS: tuple[ScikitTable | StoredTable | SyntheticTask | ImageSet, ...] = (
    *TABLES,
    *STORED,
    *sequences.PROCEDURES,
    *pictures.PROCEDURES,
    *boundaries.PROCEDURES,
    *mixtures.PROCEDURES,
    *boolean_rules.PROCEDURES,
    *surfaces.PROCEDURES,
    *images.IMAGE_SETS,
)

TASKS: TaskBook = {row.name: functools.cache(row.task) for row in ROWS}
"""Name -> the function that makes the task, once per process."""

ON_REQUEST: frozenset[str] = frozenset(row.name for row in images.IMAGE_SETS)
"""Tasks whose files the user fetches first (`groundrules download`); all others ship."""

FAMILIES: Mapping[str, str] = {row.name: row.family for row in ROWS}
"""Name -> family (the statistical unit), without making the task."""

ROLES: Mapping[str, Role] = {row.name: row.role for row in ROWS}
"""Name -> what the task may be used for, settled before any run."""
