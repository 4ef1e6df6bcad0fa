"""What becomes of a pack, written down: its evaluations in one transaction, and every attempt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studies.ledger.contract import Database, Transaction, Values
from studies.ledger.row_codec import COLUMNS, columns_of, content_hash, damaged
from studies.ledger.seal import Sealed, append, pack_hash, row_hash

if TYPE_CHECKING:
    from studies.packing import Pack
    from trainers.evaluation import Evaluation

LONGEST_CAUSE = 4000
"""Characters of an attempt's cause that are kept."""


def commit_pack(
    database: Database,
    study: str,
    pack: Pack,
    evaluations: Sequence[Evaluation],
    *,
    seconds: float,
    worker: str,
) -> int:
    """Writes a pack in one transaction; how many of its slots were new.

    A slot that is already filled keeps its first evaluation; the second is logged as an attempt. Where the
    connection is lost while the transaction becomes true, the repetition first looks whether it has.
    """
    now = now_ms()
    rows = {e.id: columns_of(study, pack.id, e) for e in evaluations}
    about = (pack.phase, pack.factor, pack.task, pack.regime, len(pack.members), float(seconds), worker, now)
    note = (study, pack.id, "", "committed", "", worker, float(seconds), now)
    new = 0

    def work(t: Transaction, again: bool) -> int:
        nonlocal new
        if again and _noted(t, note):
            return new
        entered = t.run(
            "INSERT INTO packs (id, study, phase, factor, task, regime, members, seconds, worker,"
            " committed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (pack.id, study, *about),
        )
        places = ", ".join("?" * len(rows))
        there = t.rows(f"SELECT slot FROM evaluations WHERE slot IN ({places})", list(rows))
        filled = [slot for (slot,) in there]
        fresh = {slot: row for slot, row in rows.items() if slot not in filled}
        t.many(
            f"INSERT INTO evaluations ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",
            list(fresh.values()),
        )
        t.ensure("hashes")
        hashes = {slot: content_hash(row) for slot, row in fresh.items()}
        t.many("INSERT INTO hashes (slot, hash) VALUES (?, ?)", list(hashes.items()))
        if fresh and not entered:
            raise damaged(database.name, f"pack {pack.id} is there without its evaluations")
        kept = [(*row[:-1], hashes[slot]) for slot, row in fresh.items()]
        sealed: list[Sealed] = [("pack", pack.id, pack_hash((pack.id, *about), kept))] if entered else []
        doubled = [(study, pack.id, slot, "duplicate", "", worker, float(seconds), now) for slot in filled]
        _note(t, [*doubled, note], sealed)
        new = len(fresh)
        return new

    return database.write(study, work)


def note_attempt(
    database: Database,
    study: str,
    pack: Pack,
    *,
    kind: str,
    cause: str,
    worker: str,
    seconds: float,
    slot: str = "",
) -> None:
    """Appends what happened to a pack that was not committed; `slot` where one of its members is meant."""
    note = (study, pack.id, slot, kind, _storable(cause)[:LONGEST_CAUSE], worker, float(seconds), now_ms())

    def work(t: Transaction, again: bool) -> None:
        if not (again and _noted(t, note)):
            _note(t, [note])

    database.write(study, work)


def now_ms() -> int:
    """Wall clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _note(t: Transaction, notes: Sequence[Values], sealed: Sequence[Sealed] = ()) -> None:
    t.many(
        "INSERT INTO attempts (study, pack, slot, kind, cause, worker, seconds, at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        notes,
    )
    study = str(notes[0][0])
    append(t, study, [*sealed, *(("attempt", str(note[1]), row_hash(note[1:])) for note in notes)])


def _noted(t: Transaction, note: Values) -> bool:
    """Whether this very note is there: what was written with it is there as well."""
    sql = (
        "SELECT 1 FROM attempts WHERE study = ? AND pack = ? AND slot = ? AND kind = ? AND cause = ?"
        " AND worker = ? AND seconds = ? AND at_ms = ?"
    )
    return bool(t.rows(sql, note))


def _storable(text: str) -> str:
    """Any text as databases take it: no NUL, no half of a pair of UTF-16."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
