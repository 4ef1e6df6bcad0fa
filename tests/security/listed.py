"""The red-team list: every attack that is tried, in the order of what it goes through."""

from __future__ import annotations

from tests.security import study_files
from tests.security.attack import Attack

ATTACKS: tuple[Attack, ...] = (*study_files.ATTACKS,)
