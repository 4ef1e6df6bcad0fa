"""The ledger: what was planned and what was trained, in one SQLite file that survives a kill.

Everything else (the MLflow store, Optuna's studies, reports) is a projection that can be rebuilt
from here. A pack enters in one transaction; a slot counts once, whoever commits it again.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.record import Margin
from search_spaces.factor import unknown
from trainers.diagnostics.names import summaries
from trainers.evaluation import PHASES, Evaluation

if TYPE_CHECKING:  # packs know the trainer; a ledger must be readable where torch is not loaded
    from studies.packing import Pack

SCHEMA_VERSION = 1
FILE = "ledger.sqlite"

SCHEMA = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE studies (
    name TEXT PRIMARY KEY, title TEXT NOT NULL, protocol_hash TEXT NOT NULL, protocol TEXT NOT NULL,
    terms TEXT NOT NULL, started_ms INTEGER NOT NULL);
CREATE TABLE plans (
    study TEXT NOT NULL, revision INTEGER NOT NULL, hash TEXT NOT NULL, plan TEXT NOT NULL,
    started_ms INTEGER NOT NULL, PRIMARY KEY (study, revision), UNIQUE (study, hash));
CREATE TABLE margins (
    study TEXT NOT NULL, position INTEGER NOT NULL, task TEXT NOT NULL, regime TEXT NOT NULL,
    margin TEXT NOT NULL, PRIMARY KEY (study, task, regime));
CREATE TABLE packs (
    id TEXT NOT NULL, study TEXT NOT NULL, phase TEXT NOT NULL, factor TEXT NOT NULL, task TEXT NOT NULL,
    regime TEXT NOT NULL, members INTEGER NOT NULL, seconds REAL NOT NULL, worker TEXT NOT NULL,
    committed_ms INTEGER NOT NULL, PRIMARY KEY (study, id));
CREATE TABLE evaluations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, slot TEXT NOT NULL UNIQUE, study TEXT NOT NULL,
    phase TEXT NOT NULL, factor TEXT NOT NULL, task TEXT NOT NULL, regime TEXT NOT NULL,
    block INTEGER NOT NULL, level TEXT NOT NULL, number INTEGER NOT NULL, pack TEXT NOT NULL,
    status TEXT NOT NULL, evaluation TEXT NOT NULL);
CREATE INDEX of_chain ON evaluations (study, factor, task, regime, phase);
CREATE TABLE attempts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, pack TEXT NOT NULL, slot TEXT NOT NULL,
    kind TEXT NOT NULL, cause TEXT NOT NULL, worker TEXT NOT NULL, seconds REAL NOT NULL,
    at_ms INTEGER NOT NULL);
"""

FROZEN = """
CREATE TABLE IF NOT EXISTS frozen (
    study TEXT NOT NULL, part TEXT NOT NULL, hash TEXT NOT NULL, content TEXT NOT NULL,
    frozen_ms INTEGER NOT NULL, PRIMARY KEY (study, part))
"""

WITHOUT_CURVES = "json_set(evaluation, '$.curve', json('[]'), '$.diagnostics', json('{}'))"
COMMITTED = (
    "SELECT e.sequence, e.evaluation, e.pack, p.committed_ms, p.seconds / p.members"
    " FROM evaluations e JOIN packs p ON p.study = e.study AND p.id = e.pack"
)


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One study as the ledger lists it."""

    name: str
    title: str
    protocol_hash: str
    protocol: Mapping[str, Any]
    """The resolved spec, the task facts, the rules and the package version, as they were hashed."""
    terms: Mapping[str, Any]
    """What was recorded at the first run and holds from then on: measured speed, versions, hardware."""
    started_ms: int


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One plan that was ever started."""

    revision: int
    """1 for the first under this study's name."""
    hash: str
    plan: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Committed:
    """One evaluation with the circumstances of its commit."""

    sequence: int
    """Strictly increasing in the order of commits, over all studies of the ledger."""
    evaluation: Evaluation
    pack_id: str
    committed_ms: int
    """Wall clock, milliseconds since 1970."""
    seconds: float
    """The pack's training time divided by its members."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One thing that happened to a pack: append-only, never evidence."""

    pack: str
    slot: str
    """'' where the whole pack is meant."""
    kind: str
    """'committed', 'duplicate', or what failed."""
    cause: str
    worker: str
    seconds: float
    at_ms: int


class Ledger:
    """One connection to a workspace's ledger; use it in the thread that opened it."""

    def __init__(self, workspace: Path, connection: sqlite3.Connection) -> None:
        self.workspace = workspace
        self._db = connection

    @staticmethod
    def open(workspace: Path, create: bool = False) -> Ledger:
        """Opens `<workspace>/ledger.sqlite`.

        Args:
            workspace: the folder.
            create: True to write (made where missing, in one transaction); False to read only, which
                never makes a ledger nor changes one.

        Raises:
            ValueError: nothing there to read, not writable, not a ledger, or from a newer version.
        """
        file = Path(workspace) / FILE
        if not create and not file.is_file():
            raise ValueError(f"workspace {workspace}: no ledger here ({FILE} is missing); run a study first")
        connection: sqlite3.Connection | None = None
        try:
            if create:
                Path(workspace).mkdir(parents=True, exist_ok=True)
            mode = "rwc" if create else "ro"
            address = f"{file.absolute().as_uri()}?mode={mode}"
            connection = sqlite3.connect(address, uri=True, timeout=60, isolation_level=None)
            if create:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                _make(connection)
            _check_schema(connection, file)
        except (OSError, sqlite3.Error) as error:
            if connection is not None:
                connection.close()
            wish = "write" if create else "read"
            raise ValueError(f"workspace {workspace}: cannot {wish} the ledger {file} ({error})") from error
        except ValueError:
            if connection is not None:
                connection.close()
            raise
        return Ledger(Path(workspace), connection)

    def close(self) -> None:
        """Closes the connection; committed packs are safe with or without it."""
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def hold(self, study: str) -> Iterator[None]:
        """An exclusive right to run `study`, given back when the process ends, however it ends.

        Raises:
            ValueError: another process holds it; names its pid.
        """
        with open(self.workspace / f"{study}.lock", "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise ValueError(
                    f"study '{study}' in {self.workspace} is in use by another run (pid {holder}); "
                    "wait for it or stop it"
                ) from None
            lock.seek(0)
            lock.truncate()
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    # studies and plans

    def start_study(self, row: StudyRow) -> None:
        """Records a study before its first member is trained."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO studies VALUES (?, ?, ?, ?, ?, ?)",
                (row.name, row.title, row.protocol_hash, _text(row.protocol), _text(row.terms),
                 row.started_ms),
            )  # fmt: skip

    def studies(self) -> list[StudyRow]:
        """All studies, oldest first."""
        rows = self._db.execute(
            "SELECT name, title, protocol_hash, protocol, terms, started_ms FROM studies ORDER BY rowid"
        )
        return [
            StudyRow(
                name=name, title=title, protocol_hash=hashed, protocol=json.loads(protocol),
                terms=json.loads(terms), started_ms=started,
            )
            for name, title, hashed, protocol, terms, started in rows
        ]  # fmt: skip

    def find_study(self, name: str) -> StudyRow | None:
        """The study of that name, or None."""
        return next((row for row in self.studies() if row.name == name), None)

    def study(self, name: str) -> StudyRow:
        """The study of that name; ValueError naming the ones that are here."""
        row = self.find_study(name)
        if row is None:
            raise unknown(f"study in {self.workspace}", name, [row.name for row in self.studies()])
        return row

    def start_plan(self, study: str, hashed: str, plan: Mapping[str, Any], margins: Sequence[Margin]) -> None:
        """Freezes margins and plan in one transaction, before the first retune member.

        A plan that was started before is not recorded twice; none is ever removed.
        """
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO margins VALUES (?, ?, ?, ?, ?)",
                [(study, i, m.task, m.regime, _text(asdict(m))) for i, m in enumerate(margins)],
            )
            self._db.execute(
                "INSERT OR IGNORE INTO plans SELECT ?, COUNT(*) + 1, ?, ?, ? FROM plans WHERE study = ?",
                (study, hashed, _text(plan), _now(), study),
            )

    def plans(self, study: str) -> list[PlanRow]:
        """Every plan ever started under this name, in that order."""
        rows = self._db.execute(
            "SELECT revision, hash, plan FROM plans WHERE study = ? ORDER BY revision", (study,)
        )
        return [PlanRow(revision=r, hash=hashed, plan=json.loads(plan)) for r, hashed, plan in rows]

    def freeze(self, study: str, part: str, hashed: str, content: Mapping[str, Any]) -> None:
        """Records a part of the external check before anything is trained on its ground; the first stays.

        The table is made when it is needed: ledgers from before it are as good.
        """
        with self._transaction():
            self._db.execute(FROZEN)
            self._db.execute(
                "INSERT OR IGNORE INTO frozen VALUES (?, ?, ?, ?, ?)",
                (study, part, hashed, _text(content), _now()),
            )

    def frozen(self, study: str) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Part -> hash and content of what was frozen, in that order; {} where nothing was."""
        there = self._db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'frozen'").fetchone()[0]
        if not there:
            return {}
        rows = self._db.execute(
            "SELECT part, hash, content FROM frozen WHERE study = ? ORDER BY rowid", (study,)
        )
        return {part: (hashed, json.loads(content)) for part, hashed, content in rows}

    def margins(self, study: str) -> tuple[Margin, ...]:
        """The margins the pilot fixed, in the order of the plan; empty before it has."""
        rows = self._db.execute("SELECT margin FROM margins WHERE study = ? ORDER BY position", (study,))
        return tuple(Margin(**json.loads(margin)) for (margin,) in rows)

    # evaluations

    def commit(
        self, study: str, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str
    ) -> int:
        """One pack in one transaction; returns how many slots were new.

        A slot that is already filled keeps its first evaluation; the second is logged as an attempt.

        Raises:
            ValueError: the evaluations are not exactly the pack's members, in their order.
        """
        if [e.slot for e in evaluations] != [m.slot for m in pack.members]:
            raise ValueError(f"pack {pack.id}: the evaluations are not those of its members")
        now = _now()
        new = 0
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO packs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (pack.id, study, pack.phase, pack.factor, pack.task, pack.regime, len(pack.members), seconds,
                 worker, now),
            )  # fmt: skip
            for evaluation in evaluations:
                s = evaluation.slot
                added = self._db.execute(
                    "INSERT OR IGNORE INTO evaluations (slot, study, phase, factor, task, regime, block,"
                    " level, number, pack, status, evaluation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (evaluation.id, study, s.phase, s.factor, s.task, s.regime, s.block, s.level, s.index,
                     pack.id, evaluation.status, _text(evaluation.plain())),
                ).rowcount  # fmt: skip
                new += added
                if not added:
                    self._attempt(study, pack.id, evaluation.id, "duplicate", "", worker, seconds, now)
            self._attempt(study, pack.id, "", "committed", "", worker, seconds, now)
        return new

    def attempt(
        self, study: str, pack: Pack, *, kind: str, cause: str, worker: str = "", seconds: float = 0.0
    ) -> None:
        """Appends what happened to a pack that was not committed."""
        with self._transaction():
            self._attempt(study, pack.id, "", kind, cause[:4000], worker, seconds, _now())

    def attempts(self, study: str) -> list[Attempt]:
        """Everything that ever happened to the study's packs, in that order."""
        rows = self._db.execute(
            "SELECT pack, slot, kind, cause, worker, seconds, at_ms FROM attempts WHERE study = ?"
            " ORDER BY sequence",
            (study,),
        )
        names = tuple(Attempt.__dataclass_fields__)
        return [Attempt(**dict(zip(names, row, strict=True))) for row in rows]

    def filled(self, study: str) -> dict[str, str]:
        """Slot id -> status of every evaluation of the study."""
        return dict(self._db.execute("SELECT slot, status FROM evaluations WHERE study = ?", (study,)))

    def chain_counts(self, study: str) -> dict[tuple[str, str, str], int]:
        """(factor, task, regime) -> how many evaluations are there; factor '' is the pilot."""
        rows = self._db.execute(
            "SELECT factor, task, regime, COUNT(*) FROM evaluations WHERE study = ? GROUP BY 1, 2, 3",
            (study,),
        )
        return {(factor, task, regime): count for factor, task, regime, count in rows}

    def cell_counts(self, study: str) -> dict[tuple[str, str, str, int, str], tuple[int, int]]:
        """(factor, task, regime, block, level) -> evaluations there, and how many of them diverged."""
        rows = self._db.execute(
            "SELECT factor, task, regime, block, level, COUNT(*),"
            " SUM(CASE WHEN status = 'diverged' THEN 1 ELSE 0 END) FROM evaluations WHERE study = ?"
            " GROUP BY 1, 2, 3, 4, 5",
            (study,),
        )
        return {(f, task, regime, block, level): (n, bad) for f, task, regime, block, level, n, bad in rows}

    def core_seconds(self, study: str, *, blocks: int) -> dict[tuple[str, str, str], float]:
        """(factor, regime, level) -> seconds that its members trained, each a share of its pack's.

        Args:
            study: its name.
            blocks: of the plan; members of later ones are left out.
        """
        rows = self._db.execute(
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
        what = "evaluation" if curves else WITHOUT_CURVES
        rows = self._db.execute(
            f"SELECT {what} FROM evaluations WHERE study = ? AND factor = ? AND task = ? AND regime = ?",
            (study, factor, task, regime),
        )
        return _canonical(Evaluation.from_plain(json.loads(text)) for (text,) in rows)

    def confirmed(self, study: str, factor: str, regime: str) -> tuple[Evaluation, ...]:
        """The confirm evaluations of one row so far, without curves and diagnostics, in canonical order."""
        rows = self._db.execute(
            f"SELECT {WITHOUT_CURVES} FROM evaluations"
            " WHERE study = ? AND factor = ? AND regime = ? AND phase = 'confirm'",
            (study, factor, regime),
        )
        return _canonical(Evaluation.from_plain(json.loads(text)) for (text,) in rows)

    def evaluations(self, study: str, *, layers: bool = True) -> tuple[Evaluation, ...]:
        """Every evaluation of the study, in an order that does not depend on the order of commits.

        Args:
            study: its name.
            layers: False leaves out what was recorded layer by layer, half of the memory of a deep study.
        """
        rows = self._db.execute("SELECT evaluation FROM evaluations WHERE study = ?", (study,))
        made = (Evaluation.from_plain(json.loads(text)) for (text,) in rows)
        return _canonical(
            made if layers else (replace(e, diagnostics=summaries(e.diagnostics)) for e in made)
        )

    def starting_with(self, study: str, digits: str) -> tuple[Evaluation, ...]:
        """The evaluations of a study whose id begins with these hexadecimal digits."""
        rows = self._db.execute(
            "SELECT evaluation FROM evaluations WHERE study = ? AND substr(slot, 1, ?) = ?",
            (study, len(digits), digits),
        )
        return _canonical(Evaluation.from_plain(json.loads(text)) for (text,) in rows)

    def committed_after(self, study: str, sequence: int, limit: int) -> list[Committed]:
        """The next `limit` evaluations committed after `sequence` (0: from the beginning)."""
        rows = self._db.execute(
            f"{COMMITTED} WHERE e.study = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?",
            (study, sequence, limit),
        )
        return [_committed(row) for row in rows]

    def committed_of(
        self, study: str, factor: str, task: str, regime: str, *, until: int
    ) -> Iterator[Committed]:
        """The evaluations of one chain that were committed at `until` or before, in that order."""
        rows = self._db.execute(
            f"{COMMITTED} WHERE e.study = ? AND e.factor = ? AND e.task = ? AND e.regime = ?"
            " AND e.sequence <= ? ORDER BY e.sequence",
            (study, factor, task, regime, until),
        )
        return map(_committed, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:  # a Ctrl-C too must leave nothing half-written
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _attempt(self, *values: str | float) -> None:
        self._db.execute(
            "INSERT INTO attempts (study, pack, slot, kind, cause, worker, seconds, at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )


def _make(connection: sqlite3.Connection) -> None:
    """The schema in one transaction: a kill leaves either no table or all of them."""
    if not _is_empty(connection):
        return  # without asking for the right to write, which a stopped run may hold for long
    connection.execute("BEGIN IMMEDIATE")
    if _is_empty(connection):
        for statement in filter(str.strip, SCHEMA.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))
    connection.execute("COMMIT")


def _is_empty(connection: sqlite3.Connection) -> bool:
    with closing(connection.execute("SELECT COUNT(*) FROM sqlite_master")) as found:
        return bool(found.fetchone()[0] == 0)


def _check_schema(connection: sqlite3.Connection, file: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        raise ValueError(f"{file} is empty: its making was interrupted; run a study first")
    if "schema_version" not in tables:
        raise ValueError(f"{file} is not a ledger: it has no schema version")
    (version,) = connection.execute("SELECT version FROM schema_version").fetchone()
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{file} has schema version {version}, newer than this program's {SCHEMA_VERSION};"
            " upgrade groundrules"
        )


def _committed(row: tuple[int, str, str, int, float]) -> Committed:
    sequence, text, pack, ms, seconds = row
    evaluation = Evaluation.from_plain(json.loads(text))
    return Committed(sequence=sequence, evaluation=evaluation, pack_id=pack, committed_ms=ms, seconds=seconds)


def _canonical(evaluations: Iterator[Evaluation]) -> tuple[Evaluation, ...]:
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


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _now() -> int:
    return time.time_ns() // 1_000_000
