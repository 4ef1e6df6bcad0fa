"""Characters that act on whoever reads a text: terminal codes, formulas, marks that turn the writing."""

from __future__ import annotations

import re
from typing import Any

ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""Control characters but for tab and line feed, bidirectional marks, and halves of surrogate pairs, which no
file can hold. A title with ESC in it could rewrite a terminal; one with U+202E reads as another word."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet runs text that begins so."""


def acting(text: str) -> str:
    """The first character that acts, as U+XXXX; '' where there is none."""
    found = ACTING.search(text)
    return f"U+{ord(found[0]):04X}" if found else ""


def harmless(text: str, most: int = 4000) -> str:
    """Text for a terminal or a log: what acts is named (<U+001B>), and the end of a long text is cut."""
    clean = ACTING.sub(lambda found: f"<{acting(found[0])}>", text)
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."


def cell(value: Any) -> Any:
    """A value for a CSV file: text comes from users, so a formula is quoted by an apostrophe."""
    if not isinstance(value, str):
        return value
    return f"'{harmless(value)}" if value.startswith(FORMULA_STARTS) else harmless(value)
