"""A ledger holds our tables and nothing else: no trigger that acts, no view in the place of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def refuse_foreign(file: str, entries: Iterable[tuple[str, str, str | None]], ours: Collection[str]) -> None:
    """ValueError for the first thing in an SQLite file that we do not make.

    Args:
        file: for the message.
        entries: type, name and sql of `sqlite_master`.
        ours: the statements that make our tables and indices.
    """
    known = {_one_line(statement) for statement in ours}
    for kind, name, sql in entries:
        # What SQLite keeps for itself: the counters, and indices behind keys, which have no statement.
        if (kind, name) == ("table", "sqlite_sequence") or (kind == "index" and sql is None):
            continue
        if kind not in ("table", "index") or _one_line(sql or "") not in known:
            raise ValueError(
                f"{file} holds a {kind} '{name:.80}' that no version of this program makes like that: such a "
                "file could act when it is opened"
            )


def _one_line(statement: str) -> str:
    return " ".join(statement.replace("IF NOT EXISTS ", "").split())
