"""The one error of a study file."""

from __future__ import annotations

from collections.abc import Iterable


class SpecError(ValueError):
    """A mistake in a study file: one message with file, key and rule."""

    def __init__(self, file: str, key: str, rule: str) -> None:
        super().__init__(f"{file}: {key}: {rule}" if key else f"{file}: {rule}")


def unique(file: str, key: str, names: Iterable[str]) -> None:
    """SpecError if a name is listed twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SpecError(file, key, f"'{name}' is listed twice")
        seen.add(name)
