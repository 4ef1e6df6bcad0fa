"""Whether the ledger holds what was committed: every row against its id, its columns, its pack and hash."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from reports.evidence.processors import kernels, mixed
from reports.verdicts.sentences import counted
from studies.ledger.row_codec import COLUMNS, PACK, content_hash
from trainers.evaluation import Evaluation

UNSEALED = (
    "this ledger is of an earlier version: nothing tells whether titles, versions, hardware, times and "
    "attempts were changed; the next run in it seals them as they are"
)
ADOPTED = (
    "its rows of before {} were sealed as they were found: nothing tells whether titles, versions, hardware, "
    "times and attempts were changed until then"
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row that is not what was committed."""

    where: str
    """The evaluation's id, the pack's, or 'database'."""
    what: str


@dataclass(frozen=True, kw_only=True)
class IntegrityReport:
    """What a look at every row of a study has found."""

    study: str
    evaluations: int
    hashed: int
    """Of these, how many have a hash of their content; ledgers of the first versions have none."""
    packs: int
    sealed: bool
    """Whether there is a seal over all else: title, terms, plans, margins, packs, attempts. Ledgers of
    earlier versions have none until something is run in them."""
    adopted_ms: int
    """When its rows were sealed as they were found, ms since 1970; 0 where each was sealed when written."""
    faults: tuple[Fault, ...]
    processors: Mapping[str, int]
    """The kernels that trained the evaluations -> how many; 'not recorded' in those of earlier versions."""

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """As a person reads it."""
        faults = f"{len(self.faults)} fault{'' if len(self.faults) == 1 else 's'}"
        right = "all are what was committed" if not self.faults else faults
        return [
            *(f"{fault.where}: {fault.what}" for fault in self.faults),
            f"{self.study}: {counted(self.evaluations, 'evaluation')} of {counted(self.packs, 'pack')} read, "
            f"{self.hashed} of them with a hash of their content; {right}",
            *([] if self.sealed else [UNSEALED]),
            *([ADOPTED.format(_date(self.adopted_ms))] if self.adopted_ms else []),
            *([f"note: {said}"] if (said := mixed(Counter(self.processors))) else []),
        ]


def checked(
    study: str,
    rows: Iterator[tuple[Any, ...]],
    packs: Mapping[str, int],
    packs_now: Callable[[], Mapping[str, int]],
    known: Sequence[Fault],
    *,
    sealed: bool,
    adopted_ms: int,
) -> IntegrityReport:
    """Looks at every row.

    Args:
        study: whose they are.
        rows: of `studies.ledger.row_codec.query`.
        packs: pack -> how many evaluations came with it, as of before the rows were read.
        packs_now: the same of now: a run may be committing meanwhile.
        known: faults that were found before.
        sealed: whether there is a seal over the study.
        adopted_ms: when that was made of rows as they were found; 0 where it was not.
    """
    faults = list(known)
    counts: Counter[str] = Counter()
    processors: Counter[str] = Counter()
    hashed = 0
    for row in rows:
        columns, hash_ = row[: len(COLUMNS)], row[len(COLUMNS)]
        counts[columns[PACK]] += 1
        hashed += hash_ is not None
        evaluation, why = _read(columns, hash_)
        if evaluation is None:
            faults.append(Fault(where=str(row[0]), what=why))
        elif evaluation.status != "failed":  # which nobody trained
            processors[kernels(evaluation.processor)] += 1
    there = packs_now()
    for pack in sorted({*counts, *packs}, key=str):
        if pack not in there:
            faults.append(
                Fault(where=str(pack), what=f"{counts[pack]} evaluations of a pack that is not there")
            )
        elif counts[pack] < packs.get(pack, 0):
            faults.append(
                Fault(where=str(pack), what=f"{counts[pack]} of its {packs[pack]} evaluations are there")
            )
    return IntegrityReport(
        study=study, evaluations=counts.total(), hashed=hashed, packs=len(packs), sealed=sealed,
        adopted_ms=adopted_ms, faults=tuple(dict.fromkeys(faults)),
        processors=dict(sorted(processors.items())),
    )  # fmt: skip


def _date(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%F %T} UTC"


def row_fault(row: tuple[Any, ...], hashed: str | None) -> str:
    """What is wrong with one evaluation's columns, given its hash or None; '' where nothing is."""
    return _read(row, hashed)[1]


def _read(row: tuple[Any, ...], hashed: str | None) -> tuple[Evaluation | None, str]:
    """The evaluation, or None and what is wrong with its columns."""
    slot, *columns, _, status, text = row
    if hashed is not None and hashed != content_hash(row):
        return None, "its content is not what was committed"
    try:
        found = Evaluation.from_plain(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return None, f"its content cannot be read ({type(error).__name__}: {error})"
    if found.id != slot:
        return None, f"its content is that of slot {found.id}"
    s = found.slot
    if columns != [s.study, s.phase, s.factor, s.task, s.regime, s.block, s.level, s.index]:
        return None, "its columns are not those of its slot"
    if status != found.status:
        return None, f"its status is '{status}', in its content '{found.status}'"
    return found, ""
