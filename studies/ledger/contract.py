"""What the ledger asks of a database, and what happens when one does not answer."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]
Values = Sequence[str | int | float]

log = logging.getLogger("groundrules.ledger")

WAIT = "GROUNDRULES_LEDGER_WAIT"
WAIT_SECONDS = 900.0
"""How long a running study waits for a ledger that is away or locked, before it stops; `WAIT` overrules."""
PAUSES = (0.1, 5.0)
"""Between two tries, in seconds: twice as long every time, from the first of these up to the last."""


class NoLedger(ValueError):
    """There is nothing to read yet."""


class LedgerLost(OSError):
    """The ledger cannot be reached or written any more; what was committed is safe."""


class LedgerDamaged(LedgerLost):
    """The ledger holds something that nobody has written like this."""


class Transaction(Protocol):
    """Statements that become true together. Placeholders are question marks."""

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """What a query finds."""

    def run(self, sql: str, values: Values = ()) -> int:
        """Runs one statement; how many rows it changed."""

    def many(self, sql: str, rows: Sequence[Values]) -> int:
        """The same statement for many rows; how many rows it changed."""

    def ensure(self, table: str) -> None:
        """Makes one of the tables that are made when they are needed."""


class Database(Protocol):
    """One connection, used by the thread that opened it. It waits and reconnects where that can help.

    `LedgerLost` is raised where it cannot.
    """

    version: int
    """Of its schema, as of when it was opened or made newer."""
    name: str
    """The file or the address, for messages: without a password."""
    without_curves: str
    """SQL: the column `evaluation` without curves and diagnostics, all else to the letter."""

    def read(self, sql: str, values: Values, make: Callable[[Iterator[Row]], T], *, many: bool = False) -> T:
        """What `make` makes of the rows of a query; called again from the first row after a lost connection.

        Args:
            sql: the query.
            values: for its question marks.
            make: takes rows one by one.
            many: there may be more rows than should be in memory at once.
        """

    def write(self, study: str, work: Callable[[Transaction, bool], T]) -> T:
        """Runs `work` as one transaction that has the right to write this study.

        Args:
            study: its name.
            work: given the transaction, and whether this is a repetition after a lost connection: then what
                it writes may be there already.
        """

    def upgrade(self, work: Callable[[Transaction], None]) -> None:
        """Makes the tables of the newest schema in a ledger of an earlier one, once, in one transaction.

        Args:
            work: given the transaction, after the tables are made.

        Raises:
            ValueError: another run, of whichever version of this program, holds one of its studies.
        """

    def has(self, table: str) -> bool:
        """Whether there is such a table."""

    def hold(self, study: str) -> AbstractContextManager[None]:
        """The exclusive right to run a study; ValueError naming who has it."""

    def faults(self) -> list[str]:
        """What the database's own check of its storage complains of."""

    def close(self) -> None:
        """Gives the connection back."""


class Patience:
    """Waiting for a database, in growing pauses: told once when it begins and once when it is over."""

    def __init__(self, name: str, seconds: float, *, aloud: bool = True) -> None:
        self._name = name
        self._seconds = seconds
        self._aloud = aloud
        self._began = time.monotonic()
        self._pause = PAUSES[0]
        self._told = False

    def wait(self, error: BaseException) -> None:
        """Pauses before the next try; LedgerLost when it has been long enough. A Ctrl-C ends the pause."""
        waited = time.monotonic() - self._began
        if waited >= self._seconds:
            raise LedgerLost(
                f"the ledger {self._name} did not answer for {waited:.0f} s ({in_one_line(error)}); what was "
                "committed is kept: resume with the same command when it is back"
            ) from error
        if self._aloud and not self._told:
            log.warning(
                "the ledger %s does not answer (%s); waiting for up to %.0f s",
                self._name, in_one_line(error), self._seconds,
            )  # fmt: skip
            self._told = True
        time.sleep(min(self._pause, max(0.0, self._seconds - waited)))
        self._pause = min(2 * self._pause, PAUSES[1])

    def over(self) -> None:
        """It answers again."""
        if self._told:
            log.warning("the ledger %s is back after %.1f s", self._name, time.monotonic() - self._began)


def wait_seconds() -> float:
    """How long a running study waits for its ledger; ValueError where the environment says no number."""
    said = os.environ.get(WAIT, "")
    try:
        seconds = float(said or WAIT_SECONDS)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{WAIT} = '{said}' must be a number of seconds, at least 0")
    return seconds


def in_one_line(error: BaseException) -> str:
    """What an error says, in one line of bearable length."""
    return " ".join(str(error).split())[:300] or type(error).__name__
