"""Every attack of the list is blocked; `python -m tests.security` prints the list with its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.attack import Attack
from tests.security.listed import ATTACKS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_blocked(attack: Attack, tmp_path: Path) -> None:
    assert attack.try_it(tmp_path), "an attack that is blocked says how"
