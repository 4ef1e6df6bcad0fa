"""The textbook's own layout: a row for each hyperparameter, a column for each regime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports.defaults.schema import Defaults, RecommendedLevel

MARKS: Mapping[str, str] = {
    "confirmed": "confirmed",
    "tied": "tied",
    "contradicted": "contradicted",
    "insufficient": "open",
    "unlisted": "not in the textbook",
}
"""Label -> what a cell says of the textbook's choice."""


@dataclass(frozen=True, kw_only=True)
class TextbookCell:
    """One recommendation as the table shows it."""

    recommended: str
    as_good: tuple[str, ...]
    """Other levels proved within one margin of every rival."""
    textbook: tuple[str, ...]
    mark: str


def grid(
    defaults: Defaults,
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[TextbookCell | None, ...]], ...]]:
    """The regimes in their order, and every factor with its cell in each; None where it has no row."""
    regimes = tuple(dict.fromkeys(row.regime for row in defaults.rows))
    factors = tuple(dict.fromkeys(row.factor for row in defaults.rows))
    return regimes, tuple(
        (factor, tuple(_cell(defaults.row(factor, regime)) for regime in regimes)) for factor in factors
    )


def _cell(row: RecommendedLevel | None) -> TextbookCell | None:
    if row is None:
        return None
    fallback = "fallback, " if row.decided_by == "fallback" else ""
    return TextbookCell(
        recommended=row.recommended,
        as_good=row.tied_with,
        textbook=row.textbook,
        mark=f"{fallback}{MARKS[row.verdict]}" if row.evaluations else "not measured",
    )


def caveats(defaults: Defaults) -> list[tuple[str, str]]:
    """(whose, what), each caveat once: one that all rows of a regime share is the regime's."""
    notes: dict[tuple[str, str], None] = {}
    for regime in dict.fromkeys(row.regime for row in defaults.rows):
        rows = [row for row in defaults.rows if row.regime == regime]
        shared = [note for note in rows[0].caveats if all(note in row.caveats for row in rows)]
        if len(rows) > 1:
            notes |= {(regime, note): None for note in shared}
        notes |= {
            (f"{row.factor}@{regime}", note): None
            for row in rows
            for note in row.caveats
            if len(rows) == 1 or note not in shared
        }
    return list(notes)
