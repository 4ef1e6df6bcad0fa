"""An attack: what somebody tries, and the function that tries it and says how it was refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from studies.site import site_of
from tests.blackbox.program import Ran, invoked


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row of the list. `try_it` raises AssertionError where the attack got through."""

    name: str
    points: tuple[int, ...]
    """Of the list in infra/security.md."""
    try_it: Callable[[Path], str]
    """Takes an empty folder; returns how the attack was refused, in a line."""


def marker(folder: Path) -> Path:
    """The file that an attack makes when its code runs."""
    return folder / "it-ran"


def refused(ran: Ran, *words: str) -> str:
    """The message of a call that was refused: exit 2, one message, nothing that acts on a terminal."""
    assert ran.code == 2, f"exit {ran.code}: {ran.said[-2000:]}"
    assert "Traceback" not in ran.said
    message = ran.err.strip()
    assert message and len(message) < 25_000, message[:500]
    assert all(char.isprintable() or char == "\n" for char in ran.said), repr(ran.said)
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
    return message.removeprefix("error: ")


def refused_site(folder: Path, *words: str) -> str:
    """What is said of the site of that workspace."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its words are looked at below
        site_of(folder)
    said = str(caught.value)
    assert [word for word in words if word not in said] == [], said
    return said


def refused_study(folder: Path, text: str | bytes, *words: str) -> str:
    """What `plan` says of a study file with that content."""
    file = folder / "study.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    said = refused(invoked("plan", file, workspace=folder / "workspace"), *words)
    assert not marker(folder).exists()
    assert not (folder / "workspace").exists()
    return said
