"""Where a study stands, from the ledger alone: for whoever asks, wherever it runs, and while it does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.execution.failure_causes import first_line
from studies.execution.planned_work import ChainKey, PlannedWork
from studies.kinds import recorded_kind
from studies.ledger.ledger import Attempt, CommittedPack, Ledger, StudyRow
from studies.ledger.rows import still_abandoned

LATELY_MS = 300_000
"""The pace is measured over the last five minutes: a pack may take one of them."""
LEAST_PACKS = 3
NO_FAILURE = frozenset(("committed", "duplicate", "split"))


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What went wrong for one reason."""

    count: int
    last: str
    """The cause of the newest, in one line."""


@dataclass(frozen=True, kw_only=True)
class LedgerStatus:
    """What the ledger says of one study now."""

    study: str
    title: str
    protocol_hash: str
    finished: int
    """Members in the ledger, those of the studies that it extends included."""
    planned: int
    """Of the whole study; an estimate until its pilot and its races are over."""
    cells_done: int
    cells_planned: int
    """0 where nothing is confirmed: searches and scopes."""
    diverged: int
    pruned: int
    given_up: tuple[str, ...]
    """Where and why packs were given up whose members are missing, a line each."""
    failures: Mapping[str, Failures]
    """Kind of failure -> what the ledger noted; none of it is a result."""
    rate: float
    """Members per second over the last minutes; 0 where nothing came in."""
    seconds_left: float | None
    """At the pace of the last minutes; None where there is none."""

    @property
    def complete(self) -> bool:
        return self.finished >= self.planned


def status_of(ledger: Ledger, row: StudyRow, *, now_ms: int) -> LedgerStatus:
    """Where one study stands.

    Args:
        ledger: open for reading.
        row: of the study.
        now_ms: wall clock, milliseconds since 1970.
    """
    whole = recorded_kind(row).recorded_work(ledger, row)
    filled, attempts = ledger.filled(row.name), ledger.attempts(row.name)
    statuses = Counter(filled.values())
    packs = ledger.trained(row.name)
    rate, busy = pace(packs, now_ms)
    done = (
        sum(size >= whole.confirmations for size in ledger.confirmations(row.name))
        if whole.confirmations
        else 0
    )
    return LedgerStatus(
        study=row.name,
        title=row.title,
        protocol_hash=row.protocol_hash,
        finished=statuses.total() + whole.inherited,
        planned=whole.total,
        cells_done=done + whole.inherited_cells,
        cells_planned=whole.cells,
        diverged=statuses["diverged"] + whole.inherited_diverged,
        pruned=statuses["pruned"],
        given_up=still_abandoned(attempts, filled),
        failures=failures(attempts),
        rate=rate,
        seconds_left=_work_left(whole, packs) / busy if busy else None,
    )


def pace(packs: Sequence[CommittedPack], now_ms: int) -> tuple[float, float]:
    """Members per second lately, and how many packs were trained at the same time; (0, 0): none lately."""
    recent = [pack for pack in packs if pack.committed_ms > now_ms - LATELY_MS]
    if len(recent) < LEAST_PACKS:
        return 0.0, 0.0
    first, *others = sorted(recent, key=lambda pack: pack.committed_ms)  # the first only starts the clock
    span = (now_ms - first.committed_ms) / 1000
    if span <= 0:
        return 0.0, 0.0
    return sum(pack.members for pack in others) / span, sum(pack.seconds for pack in others) / span


def failures(attempts: Sequence[Attempt]) -> dict[str, Failures]:
    """Kind -> how often, and the newest cause; most frequent first."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for attempt in attempts:
        if attempt.kind not in NO_FAILURE:
            by_kind[attempt.kind].append(attempt.cause)
    order = sorted(by_kind, key=lambda kind: (-len(by_kind[kind]), kind))
    return {
        kind: Failures(count=len(by_kind[kind]), last=first_line(by_kind[kind][-1])[:600]) for kind in order
    }


def _work_left(whole: PlannedWork, packs: Sequence[CommittedPack]) -> float:
    """Seconds of training that are not done, in one process, by what members of the same kind took so far."""
    seconds: defaultdict[ChainKey, float] = defaultdict(float)
    members: Counter[ChainKey] = Counter()
    for pack in packs:
        # Of its own chain; if nothing of that is trained, of its regime (or of its pilots), else of all.
        for alike in _alike(pack.place):
            seconds[alike] += pack.seconds
            members[alike] += pack.members
    done = Counter[ChainKey](whole.inherited_by_key)
    for pack in packs:
        done[pack.place] += pack.members
    left = 0.0
    for place, planned in whole.by_key.items():
        known = next((key for key in _alike(place) if members[key]), None)
        if known is not None:
            left += max(0, planned - done[place]) * seconds[known] / members[known]
    return left


def _alike(place: ChainKey) -> tuple[ChainKey, ...]:
    factor, _, regime = place
    return (place, ("pilot" if not factor else "*", "*", regime), ("*", "*", "*"))
