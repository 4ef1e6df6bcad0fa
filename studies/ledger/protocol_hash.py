"""What a ledger says is taken at its word only as far as it hangs together; else it is one clear message."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from search_spaces.config import digest

log = logging.getLogger("groundrules.ledger")


def changed(study: str, plain: Mapping[str, Any], hashed: str, what: str) -> str:
    """That what the ledger keeps is not what was hashed before training; '' where it is."""
    if digest(plain) == hashed:
        return ""
    return (
        f"study '{study}': its {what} was changed after its hash {hashed} was recorded; what was measured "
        "under one plan is no evidence under another"
    )


def untouched(study: str, plain: Mapping[str, Any], hashed: str, what: str) -> None:
    """ValueError where what the ledger keeps is not what was hashed before training."""
    if why := changed(study, plain, hashed, what):
        raise ValueError(why)


@contextmanager
def as_recorded(study: str) -> Iterator[None]:
    """Within it, a study is put together from the ledger.

    Raises:
        ValueError: a key that is missing, or a value of another kind: who can write the ledger can write
            anything, and make the hashes right.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, StopIteration) as error:
        log.debug("details", exc_info=True)
        what = f"{type(error).__name__}: {error!s:.200}"
        raise ValueError(
            f"study '{study}' cannot be put together from the ledger ({what}): it was changed or damaged "
            "since it was written"
        ) from error
