"""The seals of one ledger as its readers see them: every study is looked at before anything of it is told."""

from __future__ import annotations

import time

from studies.ledger.contract import Database, LedgerDamaged, Row, Values
from studies.ledger.integrity import Fault
from studies.ledger.row_codec import damaged
from studies.ledger.schema import SEALED_FROM
from studies.ledger.seal import (
    adopt,
    adopted_ms,
    hash_faults,
    links_of,
    margin_faults,
    seal_faults,
    study_rows,
    unhashed,
)

TABLES_OF_A_STUDY = ("plans", "margins", "packs", "evaluations", "attempts")
"""Each row names its study; `frozen` and `seals` as well, which not every ledger has."""


class Seals:
    """What one connection knows of its studies' seals."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._whole: set[str] = set()
        """Studies that were looked at and are what was recorded."""

    @property
    def there(self) -> bool:
        """Whether the ledger has any: those of earlier versions have none."""
        return self._db.version >= SEALED_FROM

    def check(self, study: str) -> None:
        """LedgerDamaged where a study is not what its seal says; looked at once by every connection."""
        if study in self._whole:
            return
        if faults := self.faults(study):
            raise self.error(*faults)
        self._whole.add(study)

    def faults(self, study: str) -> list[Fault]:
        """What of a study is not what was recorded; [] for a study that is not there at all."""
        before = links_of(self._rows, study) if self.there else ()
        hashed, frozen = self._db.has("hashes"), self._db.has("frozen")
        now = study_rows(self._rows, study, hashed=hashed, frozen=frozen)
        if not self.there:
            return [*(unhashed(now) if hashed else ()), *margin_faults(now), *hash_faults(study, now)]
        after = links_of(self._rows, study)
        return seal_faults(study, before, now, after) if after or any(vars(now).values()) else []

    def adopted_ms(self, study: str) -> int:
        """When a study was sealed as it was found, ms since 1970; 0 where that was not so."""
        return adopted_ms(links_of(self._rows, study)) if self.there else 0

    def names(self) -> list[str]:
        """Of all studies, oldest first; LedgerDamaged where one has rows or a seal and is not there."""
        for fault in self.lost().values():
            raise self.error(fault)
        return [self.name_of(name) for (name,) in self.name_rows()]

    def name_rows(self) -> list[Row]:
        """What the ledger has as names of studies, oldest first."""
        return self._rows("SELECT name FROM studies ORDER BY started_ms, rowid", ())

    def name_of(self, name: object) -> str:
        """That of a row of studies; LedgerDamaged where it is no text."""
        if type(name) is not str:
            raise damaged(self._db.name, f"{name!r:.80} names no study")
        return name

    def lost(self) -> dict[str, Fault]:
        """Names that have a seal, or rows in any table, and no study."""
        tables = [*TABLES_OF_A_STUDY, *(["frozen"] if self._db.has("frozen") else [])]
        holding: dict[object, list[str]] = {}
        for table in [*(["seals"] if self.there else []), *tables]:
            for (name,) in self._rows(f"SELECT DISTINCT study FROM {table}", ()):
                holding.setdefault(name, []).append(table)
        names = {name for (name,) in self._rows("SELECT name FROM studies", ())}  # last: one may just begin
        gone = sorted((str(name), places) for name, places in holding.items() if name not in names)
        return {
            name: Fault(
                where=f"study {name:.80}",
                what="it has a seal and is not there"
                if "seals" in places
                else f"rows in {', '.join(places)} bear that name, and there is no such study",
            )
            for name, places in gone
        }

    def error(self, *faults: Fault) -> LedgerDamaged:
        """What a command says that was to tell something of a study with these faults."""
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        return damaged(self._db.name, f"{faults[0].where}: {faults[0].what}{more}")

    def _rows(self, sql: str, values: Values) -> list[Row]:
        return self._db.read(sql, values, list)


def upgrade(database: Database) -> None:
    """Seals a ledger of an earlier version as it is; ValueError while a study of it is in use."""
    if database.version >= SEALED_FROM:
        return
    try:
        hashed, frozen = database.has("hashes"), database.has("frozen")
        now_ms = time.time_ns() // 1_000_000
        database.upgrade(lambda t: adopt(t, hashed=hashed, frozen=frozen, now_ms=now_ms))
    except BaseException:
        database.close()
        raise
