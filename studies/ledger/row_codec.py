"""Evaluations as rows of the ledger: written with a hash of all their columns, believed only if it fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from studies.ledger.contract import LedgerDamaged, Row, T, Values
from trainers.evaluation import PHASES, Evaluation

COLUMNS = (
    "slot", "study", "phase", "factor", "task", "regime", "block", "level", "number", "pack", "status",
    "evaluation",
)  # fmt: skip
"""Of an evaluation, in the order in which they are hashed."""
PACK = COLUMNS.index("pack")


def columns_of(study: str, pack: str, evaluation: Evaluation) -> Values:
    """What is stored of an evaluation."""
    s = evaluation.slot
    return (
        evaluation.id, study, s.phase, s.factor, s.task, s.regime, s.block, s.level, s.index, pack,
        evaluation.status, as_text(evaluation.plain()),
    )  # fmt: skip


def content_hash(row: Sequence[Any]) -> str:
    """Of an evaluation's columns."""
    text = "\n".join(map(str, row))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def query(*, hashed: bool, light: str = "NULL", more: str = "") -> str:
    """Asks for evaluations `e`: their columns, their hash, and what else is wanted.

    Args:
        hashed: whether the ledger has hashes; files of the first versions have none.
        light: an expression for the content without what is not wanted of it.
        more: further columns, each with a comma before it.
    """
    columns = ", ".join(f"e.{name}" for name in COLUMNS)
    hash_, join = ("h.hash", " LEFT JOIN hashes h ON h.slot = e.slot") if hashed else ("NULL", "")
    return f"SELECT {columns}, {hash_}, {light}{more} FROM evaluations e{join}"


def evaluation_of(row: Row, ledger: str) -> Evaluation:
    """The evaluation of one row of `query`; LedgerDamaged where it is not what was committed.

    Args:
        row: its columns, the hash or None, and the content without what is not wanted, or None.
        ledger: its name, for the message.
    """
    columns, (hashed, light) = row[: len(COLUMNS)], row[len(COLUMNS) : len(COLUMNS) + 2]
    right = hashed is None or hashed == content_hash(columns)
    found = made(Evaluation.from_plain, light or columns[-1], ledger) if right else None
    if found is None or (hashed is None and found.id != columns[0]):
        raise damaged(ledger, f"evaluation {columns[0]} is not what was committed")
    return found


def made(make: Callable[[Any], T], text: str, ledger: str) -> T:
    """What a stored text says; LedgerDamaged where it says nothing that was ever written."""
    try:
        return make(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(ledger, f"a row cannot be read ({type(error).__name__}: {error})") from error


def damaged(ledger: str, what: str) -> LedgerDamaged:
    """The error for a row that nobody has written like this."""
    return LedgerDamaged(f"the ledger {ledger} is damaged: {what}; `groundrules check` tells all")


def damaged_studies(damage: Mapping[str, str]) -> LedgerDamaged:
    """The error for studies that could not be told of: name -> what is wrong with it."""
    return LedgerDamaged("; ".join(f"study '{name}': {why}" for name, why in damage.items()))


def canonical(evaluations: Iterator[Evaluation]) -> tuple[Evaluation, ...]:
    """In an order that does not depend on the order of commits."""
    order = {phase: i for i, phase in enumerate(PHASES)}
    return tuple(
        sorted(
            evaluations,
            key=lambda e: (
                order[e.slot.phase], e.slot.factor, e.slot.task, e.slot.regime, e.slot.block, e.slot.level,
                e.slot.index,
            ),
        )
    )  # fmt: skip


def as_text(value: Any) -> str:
    """JSON-ready data as it is stored."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
