"""A claim of a text, as a study file states it before anything is trained: data, never code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CATALOGUE: Mapping[str, tuple[str, int]] = {
    "I": ("initialization", 21),
    "A": ("activations", 22),
    "N": ("normalization", 13),
    "G": ("clipping and gradient flow", 12),
    "O": ("optimizers", 20),
    "S": ("schedules", 12),
    "R": ("regularization", 27),
    "T": ("transfer", 9),
    "P": ("precision", 2),
    "D": ("data", 2),
}
"""Letter -> (topic, how many) of the textbook's testable claims; a claim is called by letter and number."""

OWN = re.compile(r"own-[A-Za-z0-9._-]{1,60}")
"""Pattern for ids of claims outside the catalogue."""

Direction = Literal["better", "worse"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One falsifiable statement, and what of the study decides on it."""

    id: str
    """Of the catalogue ('I5'), or 'own-' and a name."""
    quote: str
    """What the text says, word for word."""
    source: str
    """Which text says it."""
    type: str
    """One of `reports.claims.claim_types.TYPES`, which has what each needs, says and is judged by."""
    factor: str
    """The question whose levels it compares."""
    levels: tuple[str, ...]
    """better, always, usually, success_rate: the one that is claimed to be better, then the other. equal:
    the two. ordering: best first. regime: better in the first regime, better in the second. dose: from the
    least to the most. exact: the one that is measured."""
    regimes: tuple[str, ...]
    """Where it is put to the test: one regime of the study; of a claim of type regime two."""
    direction: Direction | None = None
    """dose: what more of it is claimed to do to the result."""
    measure: str = ""
    """exact: the recorded summary that is compared ..."""
    expected: float | None = None
    """... with this number, ..."""
    tolerance: float | None = None
    """... by at most so much."""
    scope: Mapping[str, Any] = field(default_factory=dict)
    """Setting -> value, or {low, high}: what the claim speaks of. Elsewhere it is not tested."""

    def plain(self) -> dict[str, Any]:
        """As a study file says it; keys that say nothing are left out."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in data.items()
            if value not in (None, "", {})
        }

    def outside(self, setting: Mapping[str, object]) -> str:
        """Why a regime with this setting lies outside of what the claim speaks of; '' where it does not."""
        for name, wish in self.scope.items():
            value = setting.get(name)
            if isinstance(wish, Mapping):
                low, high = wish.get("low"), wish.get("high")
                number = float(str(value))
                if (low is not None and number < low) or (high is not None and number > high):
                    ends = [f"at least {low:g}" if low is not None else ""]
                    ends += [f"at most {high:g}" if high is not None else ""]
                    return f"it speaks of {name} {' and '.join(filter(None, ends))}; here {name} is {value}"
            elif value != wish:
                return f"it speaks of {name} {wish}; here {name} is {value}"
        return ""


def catalogued(name: str) -> bool:
    """Whether the catalogue has a claim of that name, or it is called as a claim of one's own."""
    if OWN.fullmatch(name):
        return True
    letter, number = name[:1], name[1:]
    known = letter in CATALOGUE and re.fullmatch(r"[1-9][0-9]?", number) is not None
    return known and int(number) <= CATALOGUE[letter][1]


def allowed() -> str:
    """The names of claims, in words."""
    spans = (f"{letter}1-{letter}{count} ({topic})" for letter, (topic, count) in CATALOGUE.items())
    return f"{', '.join(spans)}, or own-NAME for one of your own"
