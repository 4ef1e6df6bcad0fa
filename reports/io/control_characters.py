"""Characters that act on the reader's program: terminal codes, formulas, marks of writing direction."""

from __future__ import annotations

import re
from typing import Any

ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4"
    "\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0e\ufeff"
    "\uffa0\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Control characters but for tab and line feed; line and paragraph separators; marks that turn the writing;
all that has no width or no ink (joiners, fillers, tags, selectors of variants but for that of emoji); and
halves of surrogate pairs, which no file can hold. A title with ESC in it could rewrite a terminal; one with
U+202E reads as another word; two names that differ in U+200B look alike."""

FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
"""A spreadsheet runs text that begins so; some take the full-width forms of the first four for them."""

FORMULA = re.compile(rf"(^\s*|[;|\t\r\n]\s*)(?=[{re.escape(''.join(FORMULA_STARTS[:8]))}])")
"""Where a formula would begin: at the start, or after what another country's spreadsheet parts cells by."""


def acting(text: str) -> str:
    """The first character that acts, as U+XXXX; '' where there is none."""
    match = ACTING.search(text)
    return f"U+{ord(match[0]):04X}" if match else ""


def harmless(text: str, most: int = 4000) -> str:
    """Text for a terminal or a log: what acts is named (<U+001B>), and the end of a long text is cut."""
    clean = ACTING.sub(lambda match: f"<{acting(match[0])}>", text)
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."


def cell(value: Any) -> Any:
    """A value for a CSV file: text comes from users, so every formula in it is quoted by an apostrophe."""
    if not isinstance(value, str):
        return value
    clean = FORMULA.sub(lambda match: f"{match[0]}'", harmless(value))
    return f"'{clean}" if clean.startswith(("\t", "\r", "\n")) else clean
