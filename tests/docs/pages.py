"""The written pages of infra/docs and the README, as the tests look at them: fenced blocks in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "infra" / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
"""Address -> file of every page that people write; the generated ones are not among them."""

FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?"
    r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)
COMMAND = re.compile(r"^groundrules +([^#|&;>\n]*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    file: str
    """The file that it shows; '' where it has no title."""
    reason: str
    """Why its commands are not run; '' where they are."""

    @property
    def commands(self) -> list[str]:
        """The words after `groundrules` of each of its lines that begins with it."""
        return [line.strip() for line in COMMAND.findall(self.text)] if self.language == "sh" else []


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = FENCE.finditer(path.read_text(encoding="utf-8"))
    return [
        Block(language=one["language"], text=one["text"], file=one["file"] or "", reason=one["reason"] or "")
        for one in found
    ]
