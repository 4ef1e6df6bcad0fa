"""The claims of a workspace, judged from its ledger: what each study says alone, what all say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.claims.ledger import ClaimEntry, entries
from reports.io.dataclass_files import to_dict
from studies.ledger.contract import LedgerDamaged
from studies.ledger.row_codec import damaged_studies

SAID = {"insufficient": "insufficient evidence", "not_tested": "not tested"}


@dataclass(frozen=True, kw_only=True)
class ClaimsListing:
    """The ledger of claims, and the studies that have not come so far."""

    workspace: Path
    entries: tuple[ClaimEntry, ...]
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Study without a plan -> its claims."""
    damage: Mapping[str, str] = field(default_factory=dict)
    """Study that was left out -> what is wrong with it in the ledger."""


def claims_of(workspace: Path) -> ClaimsListing:
    """Judges every study of the workspace that has claims, but for those that are damaged.

    Raises:
        ValueError: there is no ledger.
        LedgerDamaged: nothing in it is sound.
    """
    from reports.claims.cards import ClaimCard, cards
    from studies.comparison.record import study_record
    from studies.ledger.ledger import Ledger

    found: list[ClaimCard] = []
    waiting: dict[str, int] = {}
    with Ledger.open(workspace) as ledger:
        rows, damage = ledger.sound_studies()
        if damage and not rows:
            raise damaged_studies(damage)
        for row in rows:
            claims = row.protocol["spec"].get("claims", ())
            if claims and not ledger.plans(row.name):
                waiting[row.name] = len(claims)
            elif claims:
                try:
                    found += cards(study_record(ledger, row.name))
                except LedgerDamaged as error:  # what it extends may be damaged
                    damage[row.name] = str(error)
    # As on the pages, where studies stand by name.
    found.sort(key=lambda card: card.study)
    return ClaimsListing(workspace=workspace, entries=entries(found), waiting=waiting, damage=damage)


def lines(told: ClaimsListing) -> list[str]:
    """For a reader."""
    if not told.entries and not told.waiting:
        return [f"no study in {told.workspace} has claims"]
    found = []
    for entry in told.entries:
        card = entry.card
        found += [
            f"{card.id} of study {card.study}: {_said(entry.verdict)} {card.where}".rstrip(),
            f"  “{card.quote}” ({card.source})",
            f"  {card.type.replace('_', ' ')} ({card.factor}): {card.statement}",
        ]
        if entry.adjusted is None:
            found.append(f"  not tested: {card.reason}")
            continue
        found += [f"  {card.sentence}", f"  {_alone(entry)}"]
        for witness in card.witnesses:
            found.append(f"  against it: {witness.task} ({witness.margins:+.2f} margins)")
        if card.witnesses:
            found += [f"  see for yourself: groundrules replay {id}" for id in card.witnesses[0].replay]
    found += [f"study {study}: {count} claims wait for its pilot" for study, count in told.waiting.items()]
    return found


def plain(told: ClaimsListing) -> dict[str, Any]:
    """As JSON-ready data."""
    return {
        "tested": sum(entry.adjusted is not None for entry in told.entries),
        "claims": [
            {
                **to_dict(entry.card),
                "ledger": None if entry.adjusted is None else to_dict(entry.adjusted),
                "stands": entry.verdict,
            }
            for entry in told.entries
        ],
        "waiting": dict(told.waiting),
        "damaged": dict(told.damage),
    }


def _alone(entry: ClaimEntry) -> str:
    """What the study says alone, and how the ledger sees it."""
    a = entry.adjusted
    assert a is not None
    return (
        f"alone: {_said(entry.card.verdict)}, p = {a.p:.2g}; among {entry.tested} tested claims: "
        f"{_said(entry.verdict)}, adjusted p = {a.hochberg:.2g} ({a.yekutieli:.2g} for any dependence)"
    )


def _said(word: str) -> str:
    return SAID.get(word, word)
