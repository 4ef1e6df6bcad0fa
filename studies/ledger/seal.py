"""The seal of a study: a chain of hashes over every row that the ledger holds of it.

Each transaction appends a link for every row that it writes: of the study itself, a plan, a frozen part, an
attempt, or a pack with the evaluations that came with it. A link holds the hash of its row and hangs on the
link before it, so that no row can be changed, added, removed or exchanged alone. The margins of a study have
one link together, written with their plan; the last of these counts. The head of the chain says how long it
is. There is no secret in it: who computes all of it anew is not noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from studies.ledger.contract import Row, Transaction, Values
from studies.ledger.integrity import Fault, row_fault
from studies.ledger.protocol_hash import changed
from studies.ledger.row_codec import COLUMNS, as_text, content_hash

Part = Literal["study", "plan", "margins", "frozen", "pack", "attempt", "adopted"]

HEAD = "head"
STUDY = ("name", "title", "protocol_hash", "protocol", "terms", "started_ms")
PLAN = ("revision", "hash", "plan", "started_ms")
FROZEN = ("part", "hash", "content", "frozen_ms")
PACK = ("id", "phase", "factor", "task", "regime", "members", "seconds", "worker", "committed_ms")
ATTEMPT = ("pack", "slot", "kind", "cause", "worker", "seconds", "at_ms")
MARGIN = ("position", "task", "regime", "margin")
EVALUATION = COLUMNS[:-1]
"""All but the document itself, which its own hash covers."""
_PACK_OF = EVALUATION.index("pack")
_SLOT_OF = EVALUATION.index("slot")

Sealed = tuple[Part, str, str]
"""A row that has a link: its part, its place and its hash."""
Read = Callable[[str, Values], Sequence[Row]]
"""Runs a query: of a transaction, or of its own."""

MARGINS: Final = "margins"
"""The part of links that no single row has: all margins of a study."""
ADOPTED: Final = "adopted"
"""The part of the first link of a study that was sealed as it was found; its place is when, ms since 1970."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One row as it was written."""

    position: int
    """1 for the first of the study; 0 for the head, which repeats how many there are and the last chain."""
    part: str
    place: str
    """What tells the row from others of its part: a plan's hash, a pack's id; for messages."""
    content: str
    """Hash of the row."""
    chain: str
    """Hash of this link and, by way of the one before it, of all earlier ones."""


@dataclass(frozen=True, kw_only=True)
class StudyRows:
    """All rows of one study, as the database has them now; each a sequence of columns."""

    studies: Sequence[Row]
    plans: Sequence[Row]
    margins: Sequence[Row]
    frozen: Sequence[Row]
    packs: Sequence[Row]
    evaluations: Sequence[Row]
    """Without their documents, each with its document's hash (None where that is missing) at the end."""
    attempts: Sequence[Row]
    """In the order in which they were appended."""

    def contents(self) -> Iterator[Sealed]:
        """Every row that has a link of its own."""
        evaluations: dict[str, list[Row]] = defaultdict(list)
        for row in self.evaluations:
            evaluations[row[_PACK_OF]].append(row)
        for row in self.studies:
            yield "study", str(row[0]), row_hash(row)
        for row in self.plans:
            yield "plan", str(row[1]), row_hash(row)
        for row in self.frozen:
            yield "frozen", str(row[0]), row_hash(row)
        for row in self.packs:
            yield "pack", str(row[0]), pack_hash(row, evaluations.pop(row[0], ()))
        for pack, rows in evaluations.items():
            yield "pack", str(pack), pack_hash((), rows)
        for row in self.attempts:
            yield "attempt", str(row[0]), row_hash(row)


def row_hash(row: Sequence[Any]) -> str:
    """Of any row's values, with their types."""
    text = json.dumps(list(row), separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pack_hash(row: Sequence[Any], evaluations: Sequence[Row]) -> str:
    """Of a pack's row and of the evaluations that came with it, whatever their order."""
    return row_hash([list(row), sorted((list(e) for e in evaluations), key=lambda e: str(e[_SLOT_OF]))])


def margins_hash(margins: Sequence[Row]) -> str:
    """Of all margins of a study, in their order."""
    return row_hash([list(row) for row in margins])


def append(t: Transaction, study: str, rows: Sequence[Sealed]) -> None:
    """Links for rows that this transaction writes."""
    head = t.rows("SELECT place, chain FROM seals WHERE study = ? AND position = 0", (study,))
    position, chain = (int(head[0][0]), head[0][1]) if head else (0, "")
    links = []
    for part, place, content in rows:
        position += 1
        chain = row_hash((chain, study, position, part, place, content))
        links.append((study, position, part, place, content, chain))
    t.many(
        "INSERT INTO seals (study, position, part, place, content, chain) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (study, position) DO UPDATE SET place = excluded.place, chain = excluded.chain",
        [*links, (study, 0, HEAD, str(position), "", chain)],
    )


def study_rows(read: Read, study: str, *, hashed: bool, frozen: bool) -> StudyRows:
    """What the database has of a study.

    Args:
        read: runs a query.
        study: its name.
        hashed: whether there are hashes of evaluations,
        frozen: and frozen parts: their tables are made when they are needed.
    """

    def rows(columns: Sequence[str], table: str, order: str, key: str = "study") -> Sequence[Row]:
        return read(f"SELECT {', '.join(columns)} FROM {table} WHERE {key} = ? ORDER BY {order}", (study,))

    columns = ", ".join(f"e.{name}" for name in EVALUATION)
    hash_, join = ("h.hash", " LEFT JOIN hashes h ON h.slot = e.slot") if hashed else ("NULL", "")
    return StudyRows(
        studies=rows(STUDY, "studies", "name", "name"),
        plans=rows(PLAN, "plans", "revision"),
        margins=rows(MARGIN, "margins", "position"),
        frozen=rows(FROZEN, "frozen", "part") if frozen else (),
        packs=rows(PACK, "packs", "committed_ms, id"),
        evaluations=read(f"SELECT {columns}, {hash_} FROM evaluations e{join} WHERE e.study = ?", (study,)),
        attempts=rows(ATTEMPT, "attempts", "sequence"),
    )


def links_of(read: Read, study: str) -> tuple[Link, ...]:
    """The chain of a study, its head first."""
    sql = "SELECT position, part, place, content, chain FROM seals WHERE study = ? ORDER BY position"
    return tuple(
        Link(position=position, part=part, place=place, content=content, chain=chain)
        for position, part, place, content, chain in read(sql, (study,))
    )


def seal_faults(study: str, before: Sequence[Link], now: StudyRows, after: Sequence[Link]) -> list[Fault]:
    """What of a study is not what its seal says.

    Args:
        study: its name.
        before: its links as of before its rows were read: each must have its row.
        now: its rows.
        after: its links as of after they were read: each row must have its link. A run may be committing.
    """
    if broken := _chain_faults(study, after):
        return broken
    before, after = before[1:], after[1:]
    found = unhashed(now)
    if list(after[: len(before)]) != list(before):
        found.append(Fault(where="seal", what="it was changed while it was read"))
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part, place, content in now.contents():
        rows[part, place].append(content)
    links: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for link in after:
        if link.part not in (MARGINS, ADOPTED):
            links[link.part, link.place].append(link)
    for where, contents in rows.items():
        if where not in links:
            found.append(_fault(*where, "was never recorded like this"))
        elif len(contents) > len(links[where]):
            found.append(_fault(*where, f"is there {len(contents)} times"))
    for (name, place), written in links.items():
        there = rows.get((name, place), [])
        old = [link.content for link in written if link.position <= len(before)]
        young = [link.content for link in written if link.position > len(before)]
        if len(there) < len(old):
            found.append(_fault(name, place, "is missing"))
        elif name == "pack" and not old:
            continue  # committed while its rows were read, one table after another
        elif list(there) != [*old, *young][: len(there)]:
            found.append(_fault(name, place, "is not what was recorded"))
    attempts = [link.content for link in after if link.part == "attempt"]
    in_order = [row_hash(row) for row in now.attempts]
    if not found and in_order != attempts[: len(in_order)]:
        found.append(Fault(where="attempts", what="they are not in the order in which they were recorded"))
    if all(link.part != MARGINS for link in after[len(before) :]):
        found += margin_faults(now, after)
    return found


def unhashed(now: StudyRows) -> list[Fault]:
    """Evaluations whose hash is missing."""
    return [
        Fault(where=str(row[_SLOT_OF]), what="the hash of its content is missing")
        for row in now.evaluations
        if row[-1] is None
    ]


def margin_faults(now: StudyRows, links: Sequence[Link] | None = None) -> list[Fault]:
    """Margins that are not those of the last plan, or not those that were recorded with it.

    Args:
        now: the rows of a study.
        links: its chain; None where the ledger has no seal: then only a plan that names its margins tells.
            That of a guideline study does; those of a search, which has none, and of a scope do not.
    """
    wrong = Fault(where="margins", what="they are not those of the plan that was recorded")
    if links is not None:
        recorded = [link.content for link in links if link.part == MARGINS]
        if margins_hash(now.margins) != (recorded[-1] if recorded else margins_hash(())):
            return [wrong]
    if not now.plans:
        return [wrong] if now.margins else []
    try:
        planned = json.loads(now.plans[-1][PLAN.index("plan")]).get("margins")
        if planned is None:
            return []
        wanted = [(i, m["task"], m["regime"], as_text(m)) for i, m in enumerate(planned)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return [Fault(where="plan", what="it cannot be read")]
    return [] if [tuple(row) for row in now.margins] == wanted else [wrong]


def hash_faults(study: str, now: StudyRows) -> list[Fault]:
    """Protocol, plans and frozen parts that do not fit the hashes beside them."""
    found = []
    documents = [
        *(("protocol", row[3], row[2]) for row in now.studies),
        *(("plan", row[2], row[1]) for row in now.plans),
        *((f"frozen part '{row[0]}'", row[2], row[1]) for row in now.frozen),
    ]
    for what, text, hashed in documents:
        try:
            data = json.loads(text)
            own = what == "plan" and data == {
                "protocol": hashed
            }  # that of a search or a scope is its protocol
            why = "" if own else changed(study, data, hashed, what)
        except (ValueError, TypeError, RecursionError) as error:
            why = f"it cannot be read ({type(error).__name__}: {error})"
        if why:
            found.append(Fault(where=what, what=why))
    return found


def adopted_ms(links: Sequence[Link]) -> int:
    """When a study was sealed as it was found, ms since 1970; 0 where its rows were sealed when written."""
    dates = [str(link.place) for link in links if link.part == ADOPTED]
    return int(dates[0]) if dates and re.fullmatch(r"[0-9]{1,14}", dates[0]) else 0


def adopt(t: Transaction, *, hashed: bool, frozen: bool, now_ms: int) -> None:
    """Seals a ledger from before there were seals as it is: neither mended nor judged.

    Where no evaluation could have a hash of its content, those that are what their own columns say get one.

    Args:
        t: in which this becomes true.
        hashed: whether there are hashes of evaluations,
        frozen: and frozen parts.
        now_ms: wall clock, milliseconds since 1970: the seal says that it is of this time.
    """
    if not hashed:
        t.ensure("hashes")
        whole = t.rows(f"SELECT {', '.join(COLUMNS)} FROM evaluations")
        right = [(row[_SLOT_OF], content_hash(row)) for row in whole if not row_fault(row, None)]
        t.many("INSERT INTO hashes (slot, hash) VALUES (?, ?)", right)
    for (study,) in t.rows("SELECT name FROM studies"):
        now = study_rows(t.rows, study, hashed=True, frozen=frozen)
        margins = margins_hash(now.margins)
        append(t, study, [(ADOPTED, str(now_ms), ""), *now.contents(), (MARGINS, "", margins)])


def _chain_faults(study: str, links: Sequence[Link]) -> list[Fault]:
    if not links:
        return [Fault(where="seal", what="it is missing")]
    head, *others = links
    if head.part != HEAD:
        return [Fault(where="seal", what="the head of its chain is missing")]
    chain = ""
    for position, link in enumerate(others, start=1):
        chain = row_hash((chain, study, position, link.part, link.place, link.content))
        if (link.position, link.chain) != (position, chain):
            return [Fault(where="seal", what=f"link {position} of its chain is missing or changed")]
    if (head.position, head.place, head.content, head.chain) != (0, str(len(others)), "", chain):
        return [Fault(where="seal", what="its chain is cut off at the end")]
    return []


_WORDS: Mapping[str, str] = {
    "study": "the row of study",
    "plan": "plan",
    "frozen": "the frozen part",
    "pack": "pack",
    "attempt": "the record of attempts at pack",
}


def _fault(part: str, place: str, what: str) -> Fault:
    beside = " (its row, or an evaluation or a hash of it)" if part == "pack" else ""
    return Fault(where=f"{_WORDS.get(part, part)} {place}", what=f"{what}{beside}")
