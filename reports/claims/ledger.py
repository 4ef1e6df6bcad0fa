"""The ledger of claims: all that the studies of a workspace tested, under one rate of false verdicts.

Each tested claim brings one p-value (method.md 2.9). A study's own verdict stands only where the adjusted p
is at most 0.05; a claim that was not tested brings nothing and takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from reports.claims.cards import FILE, ClaimCard, Word, read_cards
from reports.statistics.decision import Label
from reports.statistics.false_discovery import Adjusted, adjudicate


@dataclass(frozen=True, kw_only=True)
class ClaimEntry:
    """One card, and what becomes of it beside all others."""

    card: ClaimCard
    adjusted: Adjusted | None
    """None where the claim was not tested."""
    tested: int
    """Claims that brought a p-value."""

    @property
    def verdict(self) -> Word:
        """What the ledger says."""
        return self.adjusted.label if self.adjusted else "not_tested"


def entries(cards: Iterable[ClaimCard]) -> tuple[ClaimEntry, ...]:
    """The ledger of these cards, in their order."""
    cards = tuple(cards)
    tested = [card for card in cards if card.tested]
    judged = iter(adjudicate([cast(Label, card.verdict) for card in tested], [card.p for card in tested]))
    return tuple(
        ClaimEntry(card=card, adjusted=next(judged) if card.tested else None, tested=len(tested))
        for card in cards
    )


def workspace_entries(reports: Path) -> tuple[ClaimEntry, ...]:
    """The ledger over all reports of a folder, by the studies' folder names.

    A card that names another study than its folder's is left out: pages are found, and written, by that name.
    """
    folders = sorted(path.parent for path in reports.glob(f"*/{FILE}"))
    cards = (card for folder in folders for card in read_cards(folder) if card.study == folder.name)
    return entries(cards)
