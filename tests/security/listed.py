"""The red-team list: every attack that is tried, in the order of what it goes through."""

from __future__ import annotations

from tests.security import mlflow_calls, ray_calls, secrets_kept, source, stores, study_files, texts
from tests.security.attack import Attack

ATTACKS: tuple[Attack, ...] = (
    *study_files.ATTACKS,
    *stores.ATTACKS,
    *texts.ATTACKS,
    *secrets_kept.ATTACKS,
    *source.ATTACKS,
    *mlflow_calls.ATTACKS,
    *ray_calls.ATTACKS,
)
