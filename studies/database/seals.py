"""The seals of one ledger as its readers see them: every study is looked at before anything of it is told."""

from __future__ import annotations

from studies.database.checking import Fault
from studies.database.contract import Database, Row, Values
from studies.database.schema import SEALED_FROM
from studies.database.sealing import adopt, hash_faults, kept, links_of, margin_faults, seal_faults, unhashed
from studies.database.stored import damaged


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
            more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise damaged(self._db.name, f"{faults[0].where}: {faults[0].what}{more}")
        self._whole.add(study)

    def faults(self, study: str) -> list[Fault]:
        """What of a study is not what was recorded; [] for a study that is not there at all."""
        before = links_of(self._rows, study) if self.there else ()
        hashed, frozen = self._db.has("hashes"), self._db.has("frozen")
        now = kept(self._rows, study, hashed=hashed, frozen=frozen)
        if not self.there:
            return [*(unhashed(now) if hashed else ()), *margin_faults(now), *hash_faults(study, now)]
        after = links_of(self._rows, study)
        return seal_faults(study, before, now, after) if after or any(vars(now).values()) else []

    def names(self) -> list[str]:
        """Of all studies, oldest first; LedgerDamaged where one that has a seal is not there."""
        for fault in self.lost():
            raise damaged(self._db.name, f"{fault.where}: {fault.what}")
        rows = self._rows("SELECT name FROM studies ORDER BY started_ms, rowid", ())
        for (name,) in rows:
            if type(name) is not str:
                raise damaged(self._db.name, f"{name!r:.80} names no study")
        return [name for (name,) in rows]

    def lost(self) -> list[Fault]:
        """Studies that have a seal and are not there."""
        sealed = self._rows("SELECT DISTINCT study FROM seals", ()) if self.there else ()  # before the rows
        names = {name for (name,) in self._rows("SELECT name FROM studies", ())}
        gone = sorted(str(name) for (name,) in sealed if name not in names)
        return [Fault(where=f"study {name}", what="it has a seal and is not there") for name in gone]

    def _rows(self, sql: str, values: Values) -> list[Row]:
        return self._db.read(sql, values, list)


def upgrade(database: Database) -> None:
    """Seals a ledger of an earlier version as it is; ValueError while a study of it is in use."""
    if database.version >= SEALED_FROM:
        return
    try:
        hashed, frozen = database.has("hashes"), database.has("frozen")
        database.upgrade(lambda t: adopt(t, hashed=hashed, frozen=frozen))
    except BaseException:
        database.close()
        raise
