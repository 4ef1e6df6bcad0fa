"""A built page taken apart: its tables, definitions and pictures as a reader finds them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "use", "path", "rect", "link", "img"}


@dataclass(kw_only=True)
class Table:
    """One table: the headings above it, its columns, and its cells as text."""

    section: str
    """The id of its section; '' without one."""
    heading: str
    """The last heading before it."""
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        return [row[self.columns.index(name)] for row in self.rows]


@dataclass(kw_only=True)
class Figure:
    """One picture."""

    section: str
    title: str = ""
    description: str = ""
    data: str = ""
    """The file of its numbers."""
    svg: str = ""

    def across(self, x: float) -> float:
        """A place on a forest plot in margins: the band reaches from -1 to +1."""
        band = re.search(r'<path d="M ([\d.]+) [\d.]+\s+L ([\d.]+)[^"]*"[^>]*var\(--band\)', self.svg)
        assert band is not None
        left, right = map(float, band.groups())
        return 2 * (x - left) / (right - left) - 1

    def up(self, y: float) -> float:
        """A height in the units of the vertical axis, by its first and last tick."""
        found = re.findall(
            r'ytick_\d+">.*?<use [^>]*y="([\d.]+)".*?<text[^>]*>([^<]*)</text>', self.svg, flags=re.DOTALL
        )
        ticks = [(float(at), float(label.strip("≤≥").replace("−", "-"))) for at, label in found]
        (bottom, low), (top, high) = ticks[0], ticks[-1]
        return low + (y - bottom) / (top - bottom) * (high - low)

    def dots(self, colour: str) -> list[tuple[float, float]]:
        """Marks of a colour: (x, y) in the picture's units."""
        found = re.findall(rf'<use [^>]*x="([-\d.]+)" y="([-\d.]+)" style="fill: var\({colour}\)', self.svg)
        return [(float(x), float(y)) for x, y in found]

    def paths(self, style: str) -> list[list[tuple[float, float]]]:
        """The points of every path with these words in its style."""
        found = []
        for points, look in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', self.svg):
            if style in look:
                pairs = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", points)
                found.append([(float(x), float(y)) for x, y in pairs])
        return found


class Page(HTMLParser):
    """Everything on a page that has numbers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self.figures: list[Figure] = []
        self.terms: dict[str, dict[str, str]] = {}
        """Section -> term -> what is said of it."""
        self.paragraphs: list[tuple[str, str]] = []
        """(section, text)"""
        self.bars: dict[str, list[float]] = {}
        """Section -> lengths of the bars in its tables."""
        self._open: list[tuple[str, str]] = []
        self._section = self._heading = self._term = ""
        self._text: dict[str, str] = {}
        pictures = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
        self.feed(re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL))
        self.close()
        for figure, svg in zip(self.figures, pictures, strict=True):
            figure.svg = svg

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "section":
            self._section = found.get("id", "")
        elif tag == "table":
            self.tables.append(Table(section=self._section, heading=self._heading))
        elif tag == "tr" and self._inside("tbody"):
            self.tables[-1].rows.append([])
        elif tag == "figure":
            self.figures.append(Figure(section=self._section))
        elif tag == "div" and found.get("role") == "img":
            self.figures[-1].description = found["aria-label"]
        elif tag == "a" and self._inside("figcaption"):
            self.figures[-1].data = found["href"]
        elif tag == "i" and "--x:" in found.get("style", ""):
            self.bars.setdefault(self._section, []).append(float(found["style"].removeprefix("--x:")))
        if tag in ("th", "td", "h2", "h3", "h4", "dt", "dd", "p"):
            self._text[tag] = ""
        if tag == "br":
            self.handle_data(" ")
        if tag not in VOID:
            self._open.append((tag, found.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        self._open.pop()
        text = " ".join(self._text.get(tag, "").split())
        if tag in ("th", "td"):
            table = self.tables[-1]
            (table.rows[-1] if self._inside("tbody") else table.columns).append(text)
        elif tag in ("h2", "h3"):
            self._heading = text
        elif tag == "h4":
            self.figures[-1].title = text
        elif tag == "dt":
            self._term = text
        elif tag == "dd":
            self.terms.setdefault(self._section, {})[self._term] = text
        elif tag == "p":
            self.paragraphs.append((self._section, text))

    def handle_data(self, data: str) -> None:
        for tag in self._text:
            if self._inside(tag):
                self._text[tag] += data

    def _inside(self, tag: str) -> bool:
        return any(name == tag for name, _ in self._open)

    def table(self, heading: str, section: str = "") -> Table:
        """The first table after a heading, in any section or in one."""
        return next(
            table
            for table in self.tables
            if table.heading.startswith(heading) and (not section or table.section == section)
        )
