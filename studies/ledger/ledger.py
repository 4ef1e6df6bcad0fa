"""The ledger: what was planned and what was trained, in one database that survives a kill.

Everything else (the MLflow store, Optuna's studies, reports) is a projection that can be rebuilt
from here. A pack enters in one transaction; a slot counts once, whoever commits it again. The database is
a file in the workspace, or the PostgreSQL that the workspace's site names; both take the same statements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.evidence.budget import Margin
from reports.io.control_characters import harmless
from search_spaces.factor import unknown
from studies.ledger.commits import commit_pack, note_attempt, now_ms
from studies.ledger.contract import Database, LedgerDamaged, NoLedger, Row, Transaction, Values
from studies.ledger.integrity import Fault, IntegrityReport, checked
from studies.ledger.row_codec import PACK, as_text, canonical, damaged, evaluation_of, made, query
from studies.ledger.rows import Attempt, CommittedEvaluation, CommittedPack, PlanRow, StudyRow
from studies.ledger.seal import MARGINS, STUDY, append, margins_hash, row_hash
from studies.ledger.seal_checks import Seals, upgrade
from studies.ledger.sqlite import FILE, SqliteDatabase
from studies.site import Site, site_of
from trainers.diagnostics.names import summaries
from trainers.evaluation import Evaluation

if TYPE_CHECKING:  # packs know the trainer; a ledger must be readable where torch is not loaded
    from studies.packing import Pack

__all__ = ["FILE", "Attempt", "CommittedEvaluation", "CommittedPack", "Ledger", "PlanRow", "StudyRow"]


class Ledger:
    """One connection to a workspace's ledger; use it in the thread that opened it."""

    def __init__(self, workspace: Path, database: Database) -> None:
        self.workspace = workspace
        self._db = database
        self._hashed = False
        """Whether evaluations have hashes of their content: files of the first versions have none."""
        self._seals = Seals(database)

    @staticmethod
    def open(workspace: Path, create: bool = False, *, site: Site | None = None) -> Ledger:
        """Opens the ledger of a workspace: its site's, or `<workspace>/ledger.sqlite`.

        Args:
            workspace: the folder.
            create: True to write (made where missing, in one transaction); False to read only, which
                never makes a ledger nor changes one.
            site: where things are; None: as the workspace and the environment say.

        Raises:
            ValueError: nothing there to read, not writable, not a ledger, or from a newer version.
        """
        place = site or site_of(workspace)
        database: Database
        if place.ledger:
            try:
                from studies.ledger.postgresql import PostgresqlDatabase
            except ImportError as error:
                raise ValueError(
                    f"a ledger on PostgreSQL needs psycopg ({error}): pip install 'groundrules[scaleout]'"
                ) from error
            database = PostgresqlDatabase.open(place, create=create)
        else:
            database = SqliteDatabase.open(Path(workspace), create=create)
        if create:
            upgrade(database)
        return Ledger(Path(workspace), database)

    @staticmethod
    def find(workspace: Path) -> Ledger | None:
        """The ledger open for reading; None where nothing was run yet."""
        try:
            return Ledger.open(workspace)
        except NoLedger:
            return None

    @property
    def database(self) -> Database:
        """The connection, for what concerns a study as a whole (`studies.ledger.whole_study`)."""
        return self._db

    def close(self) -> None:
        """Closes the connection; committed packs are safe with or without it."""
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, study: str) -> AbstractContextManager[None]:
        """An exclusive right to run `study`, given back when the process ends, however it ends.

        Raises:
            ValueError: another process holds it; names it.
        """
        return self._db.hold(study)

    # studies and plans

    def start_study(self, row: StudyRow) -> None:
        """Records a study before its first member is trained."""
        values = (
            row.name, row.title, row.protocol_hash, as_text(row.protocol), as_text(row.terms), row.started_ms,
        )  # fmt: skip

        def work(t: Transaction, again: bool) -> None:
            mine = "SELECT 1 FROM studies WHERE name = ? AND protocol_hash = ? AND started_ms = ?"
            if again and t.rows(mine, (row.name, row.protocol_hash, row.started_ms)):
                return
            t.run(
                "INSERT INTO studies (name, title, protocol_hash, protocol, terms, started_ms)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            append(t, row.name, [("study", row.name, row_hash(values))])

        self._db.write(row.name, work)

    def studies(self) -> list[StudyRow]:
        """All studies, oldest first."""
        rows = [self.find_study(name) for name in self._seals.names()]
        return [row for row in rows if row is not None]

    def sound_studies(self) -> tuple[list[StudyRow], dict[str, str]]:
        """The studies that are what was recorded, oldest first; and every other name, with what is wrong.

        Raises:
            LedgerDamaged: not even the names can be read.
        """
        sound: list[StudyRow] = []
        damage: dict[str, str] = {}
        for (name,) in self._seals.name_rows():
            try:
                row = self.find_study(self._seals.name_of(name))
            except LedgerDamaged as error:
                damage[harmless(str(name), 80)] = str(error)
            else:
                sound += [row] if row is not None else []
        for name, fault in self._seals.lost().items():
            damage.setdefault(harmless(name, 80), str(self._seals.error(fault)))
        return sound, damage

    def find_study(self, name: str) -> StudyRow | None:
        """The study of that name, or None."""
        self._seals.check(name)
        columns = ", ".join(STUDY)
        for _, title, hashed, protocol, terms, started in self._rows(
            f"SELECT {columns} FROM studies WHERE name = ?", (name,)
        ):
            return StudyRow(
                name=name, title=title, protocol_hash=hashed,
                protocol=made(_protocol, protocol, self._db.name), terms=self._data(terms),
                started_ms=started,
            )  # fmt: skip
        return None

    def study(self, name: str) -> StudyRow:
        """The study of that name; ValueError naming the ones that are here."""
        row = self.find_study(name)
        if row is None:
            raise unknown(f"study in {self.workspace}", name, self._seals.names())
        return row

    def start_plan(self, study: str, hashed: str, plan: Mapping[str, Any], margins: Sequence[Margin]) -> None:
        """Freezes margins and plan in one transaction, before the first retune member.

        A plan that was started before is not recorded twice; none is ever removed.
        """
        rows = [(i, m.task, m.regime, as_text(asdict(m))) for i, m in enumerate(margins)]

        def work(t: Transaction, again: bool) -> None:
            t.many(
                "INSERT INTO margins (study, position, task, regime, margin) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (study, task, regime) DO UPDATE SET"
                " position = excluded.position, margin = excluded.margin",
                [(study, *row) for row in rows],
            )
            known = t.rows("SELECT hash FROM plans WHERE study = ?", (study,))
            if (hashed,) in known:
                return
            values = (len(known) + 1, hashed, as_text(plan), now_ms())
            t.run(
                "INSERT INTO plans (revision, hash, plan, started_ms, study) VALUES (?, ?, ?, ?, ?)",
                (*values, study),
            )
            append(t, study, [("plan", hashed, row_hash(values)), (MARGINS, hashed, margins_hash(rows))])

        self._db.write(study, work)

    def plans(self, study: str) -> list[PlanRow]:
        """Every plan ever started under this name, in that order."""
        self._seals.check(study)
        rows = self._rows(
            "SELECT revision, hash, plan FROM plans WHERE study = ? ORDER BY revision", (study,)
        )
        return [PlanRow(revision=r, hash=hashed, plan=self._data(plan)) for r, hashed, plan in rows]

    def freeze(self, study: str, part: str, hashed: str, content: Mapping[str, Any]) -> None:
        """Records a part of the external check before anything is trained on its ground; the first stays."""

        def work(t: Transaction, again: bool) -> None:
            t.ensure("frozen")
            values = (part, hashed, as_text(content), now_ms())
            entered = t.run(
                "INSERT INTO frozen (part, hash, content, frozen_ms, study) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (*values, study),
            )
            if entered:
                append(t, study, [("frozen", part, row_hash(values))])

        self._db.write(study, work)

    def frozen(self, study: str) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Part -> hash and content of what was frozen, in that order; {} where nothing was."""
        self._seals.check(study)
        if not self._db.has("frozen"):
            return {}
        rows = self._rows("SELECT part, hash, content FROM frozen WHERE study = ? ORDER BY rowid", (study,))
        return {part: (hashed, self._data(content)) for part, hashed, content in rows}

    def margins(self, study: str) -> tuple[Margin, ...]:
        """The margins the pilot fixed, in the order of the plan; empty before it has."""
        self._seals.check(study)
        rows = self._rows("SELECT margin FROM margins WHERE study = ? ORDER BY position", (study,))
        return tuple(made(lambda data: Margin(**data), margin, self._db.name) for (margin,) in rows)

    # evaluations

    def commit(
        self, study: str, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str
    ) -> int:
        """One pack in one transaction; returns how many slots were new.

        A slot that is already filled keeps its first evaluation; the second is logged as an attempt.

        Raises:
            ValueError: the evaluations are not exactly the pack's members, in their order.
            LedgerLost: the database was away for too long, or is held by another run.
        """
        if [e.slot for e in evaluations] != [m.slot for m in pack.members]:
            raise ValueError(f"pack {pack.id}: the evaluations are not those of its members")
        return commit_pack(self._db, study, pack, evaluations, seconds=seconds, worker=worker)

    def attempt(
        self,
        study: str,
        pack: Pack,
        *,
        kind: str,
        cause: str,
        worker: str = "",
        seconds: float = 0.0,
        slot: str = "",
    ) -> None:
        """Appends what happened to a pack that was not committed."""
        note_attempt(self._db, study, pack, kind=kind, cause=cause, worker=worker, seconds=seconds, slot=slot)

    def attempts(self, study: str) -> list[Attempt]:
        """Everything that ever happened to the study's packs, in that order."""
        self._seals.check(study)
        rows = self._rows(
            "SELECT pack, slot, kind, cause, worker, seconds, at_ms FROM attempts WHERE study = ?"
            " ORDER BY sequence",
            (study,),
        )
        names = tuple(Attempt.__dataclass_fields__)
        return [Attempt(**dict(zip(names, row, strict=True))) for row in rows]

    def filled(self, study: str) -> dict[str, str]:
        """Slot id -> status of every evaluation of the study; LedgerDamaged where a pack is not whole."""
        self._seals.check(study)
        packs = self._packs(study)
        rows = self._rows("SELECT slot, status, pack FROM evaluations WHERE study = ?", (study,))
        self._whole(packs, Counter(pack for *_, pack in rows))
        return {slot: status for slot, status, _ in rows}

    def chain_counts(self, study: str) -> dict[tuple[str, str, str], int]:
        """(factor, task, regime) -> how many evaluations are there; factor '' is the pilot."""
        self._seals.check(study)
        rows = self._rows(
            "SELECT factor, task, regime, COUNT(*) FROM evaluations WHERE study = ? GROUP BY 1, 2, 3",
            (study,),
        )
        return {(factor, task, regime): count for factor, task, regime, count in rows}

    def cell_counts(self, study: str) -> dict[tuple[str, str, str, int, str], tuple[int, int]]:
        """(factor, task, regime, block, level) -> evaluations there, and how many of them diverged."""
        self._seals.check(study)
        rows = self._rows(
            "SELECT factor, task, regime, block, level, COUNT(*),"
            " SUM(CASE WHEN status = 'diverged' THEN 1 ELSE 0 END) FROM evaluations WHERE study = ?"
            " GROUP BY factor, task, regime, block, level",
            (study,),
        )
        return {(f, task, regime, block, level): (n, bad) for f, task, regime, block, level, n, bad in rows}

    def trained(self, study: str) -> list[CommittedPack]:
        """Every committed pack, in the order of their commits."""
        self._seals.check(study)
        rows = self._rows(
            "SELECT factor, task, regime, members, seconds, committed_ms FROM packs WHERE study = ?"
            " ORDER BY committed_ms",
            (study,),
        )
        names = tuple(CommittedPack.__dataclass_fields__)
        return [CommittedPack(**dict(zip(names, row, strict=True))) for row in rows]

    def confirmations(self, study: str) -> list[int]:
        """Of every cell that has some: how many members of its confirmation (or external check) are there."""
        self._seals.check(study)
        rows = self._rows(
            "SELECT COUNT(*) FROM evaluations WHERE study = ? AND phase IN ('confirm', 'external')"
            " GROUP BY factor, task, regime, block, level",
            (study,),
        )
        return [count for (count,) in rows]

    def core_seconds(self, study: str, *, blocks: int) -> dict[tuple[str, str, str], float]:
        """(factor, regime, level) -> seconds that its members trained, each a share of its pack's.

        Args:
            study: its name.
            blocks: of the plan; members of later ones are left out.
        """
        self._seals.check(study)
        rows = self._rows(
            "SELECT e.factor, e.regime, e.level, SUM(p.seconds / p.members) FROM evaluations e"
            " JOIN packs p ON p.study = e.study AND p.id = e.pack WHERE e.study = ? AND e.block < ?"
            " GROUP BY 1, 2, 3",
            (study, blocks),
        )
        return {(factor, regime, level): seconds for factor, regime, level, seconds in rows}

    def chain(
        self, study: str, factor: str, task: str, regime: str, *, curves: bool = True
    ) -> tuple[Evaluation, ...]:
        """The evaluations of one chain (factor '' for the pilot), in canonical order.

        Args:
            study: its name.
            factor: the chain's question,
            task: task,
            regime: and regime.
            curves: False leaves curves and diagnostics out, which are most of what is kept.
        """
        self._seals.check(study)
        return self._evaluations(
            "WHERE e.study = ? AND e.factor = ? AND e.task = ? AND e.regime = ?",
            (study, factor, task, regime),
            curves=curves,
        )

    def confirmed(self, study: str, factor: str, regime: str) -> tuple[Evaluation, ...]:
        """The confirm evaluations of one row so far, without curves and diagnostics, in canonical order."""
        self._seals.check(study)
        return self._evaluations(
            "WHERE e.study = ? AND e.factor = ? AND e.regime = ? AND e.phase = 'confirm'",
            (study, factor, regime),
            curves=False,
        )

    def evaluations(self, study: str, *, layers: bool = True) -> tuple[Evaluation, ...]:
        """Every evaluation of the study, in an order that does not depend on the order of commits.

        Args:
            study: its name.
            layers: False leaves out what was recorded layer by layer, half of the memory of a deep study.

        Raises:
            LedgerDamaged: a row is not what was committed, or missing.
        """
        self._seals.check(study)
        packs = self._packs(study)  # before its evaluations: a run may be committing meanwhile
        counts: Counter[str] = Counter()

        def each(rows: Iterator[Row]) -> Iterator[Evaluation]:
            counts.clear()
            for row in rows:
                counts[row[PACK]] += 1
                e = self._evaluation(row)
                yield e if layers else replace(e, diagnostics=summaries(e.diagnostics))

        sql = f"{self._stored()} WHERE e.study = ?"
        found = self._db.read(sql, (study,), lambda rows: canonical(each(rows)), many=True)
        self._whole(packs, counts)
        return found

    def starting_with(self, study: str, digits: str) -> tuple[Evaluation, ...]:
        """The evaluations of a study whose id begins with these hexadecimal digits."""
        self._seals.check(study)
        return self._evaluations(
            "WHERE e.study = ? AND substr(e.slot, 1, ?) = ?", (study, len(digits), digits)
        )

    def committed_after(self, study: str, sequence: int, limit: int) -> list[CommittedEvaluation]:
        """The next `limit` evaluations committed after `sequence` (0: from the beginning)."""
        self._seals.check(study)
        rows = self._rows(
            f"{self._committed_rows()} WHERE e.study = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?",
            (study, sequence, limit),
        )
        return [self._committed(row) for row in rows]

    def committed_of(
        self, study: str, factor: str, task: str, regime: str, *, until: int
    ) -> Iterator[CommittedEvaluation]:
        """The evaluations of one chain that were committed at `until` or before, in that order."""
        self._seals.check(study)
        rows = self._rows(
            f"{self._committed_rows()} WHERE e.study = ? AND e.factor = ? AND e.task = ? AND e.regime = ?"
            " AND e.sequence <= ? ORDER BY e.sequence",
            (study, factor, task, regime, until),
        )
        return map(self._committed, rows)

    def check(self, study: str) -> IntegrityReport:
        """Holds every row of a study against its seal, and every evaluation against its id, pack and hash.

        Raises:
            ValueError: no such study.
            LedgerDamaged: the database cannot be read at all.
        """
        if (study,) not in self._rows("SELECT name FROM studies"):
            raise unknown(f"study in {self.workspace}", study, self._seals.names())
        packs = self._packs(study)
        known = [Fault(where="database", what=line) for line in self._db.faults()]
        known += [*self._seals.faults(study), *self._seals.lost().values()]
        return self._db.read(
            f"{self._stored()} WHERE e.study = ? ORDER BY e.sequence",
            (study,),
            lambda rows: checked(
                study, rows, packs, lambda: self._packs(study), known,
                sealed=self._seals.there, adopted_ms=self._seals.adopted_ms(study),
            ),
            many=True,
        )  # fmt: skip

    # rows as objects

    def _rows(self, sql: str, values: Values = ()) -> list[Row]:
        return self._db.read(sql, values, list)

    def _evaluations(self, where: str, values: Values, *, curves: bool = True) -> tuple[Evaluation, ...]:
        sql = f"{self._stored(curves=curves)} {where}"
        return self._db.read(sql, values, lambda rows: canonical(map(self._evaluation, rows)), many=True)

    def _stored(self, *, curves: bool = True, more: str = "") -> str:
        """The query for evaluations `e`: their columns, hash and content without curves, and `more`."""
        self._hashed = self._hashed or self._db.has("hashes")
        light = "NULL" if curves else self._db.without_curves
        return query(hashed=self._hashed, light=light, more=more)

    def _evaluation(self, row: Row) -> Evaluation:
        return evaluation_of(row, self._db.name)

    def _committed_rows(self) -> str:
        more = ", e.sequence, p.committed_ms, p.seconds / p.members"
        return f"{self._stored(more=more)} JOIN packs p ON p.study = e.study AND p.id = e.pack"

    def _committed(self, row: Row) -> CommittedEvaluation:
        sequence, ms, seconds = row[-3:]
        return CommittedEvaluation(
            sequence=sequence, evaluation=self._evaluation(row), pack_id=row[PACK], committed_ms=ms,
            seconds=seconds,
        )  # fmt: skip

    def _packs(self, study: str) -> dict[str, int]:
        """Pack -> how many evaluations came with it: its members, but for those whose slots were filled."""
        rows = self._rows(
            "SELECT p.id, p.members - COALESCE(d.slots, 0) FROM packs p LEFT JOIN"
            " (SELECT a.pack, COUNT(DISTINCT a.slot) AS slots FROM attempts a"
            " JOIN evaluations e ON e.slot = a.slot AND e.pack <> a.pack"
            " WHERE a.study = ? AND a.kind = 'duplicate' GROUP BY a.pack) d ON d.pack = p.id"
            " WHERE p.study = ?",
            (study, study),
        )
        return dict(rows)

    def _whole(self, packs: Mapping[str, int], counts: Mapping[str, int]) -> None:
        """LedgerDamaged where evaluations of a pack are missing."""
        for pack, wanted in packs.items():
            if type(wanted) is not int or counts.get(pack, 0) < wanted:
                what = f"{counts.get(pack, 0)} of {wanted} evaluations of pack {pack} are there"
                raise damaged(self._db.name, what)

    def _data(self, text: str) -> Any:
        return made(_mapping, text, self._db.name)


def _mapping(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise TypeError(f"{data!r:.80} is no mapping")
    return data


def _protocol(data: Any) -> Mapping[str, Any]:
    found = _mapping(data)
    _mapping(found["spec"])
    if not isinstance(found["facts"], list):
        raise TypeError("a protocol lists what is known of its tasks")
    return found
