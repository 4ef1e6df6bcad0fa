"""Defaults as a LaTeX table in the textbook's layout, for other documents; plain LaTeX without packages."""

from __future__ import annotations

from collections.abc import Mapping

from reports.defaults.schema import Defaults
from reports.defaults.sentences import whole_recipes
from reports.defaults.textbook_layout import TextbookCell, caveats, grid

SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def escaped(text: str) -> str:
    """Text in which nothing is a command, on one line; what is not printable is left out."""
    return "".join(SPECIAL.get(char, char) for char in " ".join(text.split()) if char.isprintable())


def latex(defaults: Defaults) -> str:
    """A table environment; equal for equal defaults."""
    regimes, factors = grid(defaults)
    heads = " & ".join(["Hyperparameter", *(f"If {escaped(regime)}" for regime in regimes)])
    lines = [
        f"% {' '.join(defaults.table.split())}: plan {defaults.plan.hash}, defaults {defaults.hash}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'l' * len(regimes)}}}",
        r"\hline",
        rf"{heads} \\",
        r"\hline",
    ]
    for factor, cells in factors:
        lines.append(" & ".join([escaped(factor), *map(_shown, cells)]) + r" \\")
        books = [_book(cell) for cell in cells]
        lines.append(" & ".join(["", *books]) + r" \\")
    caption = (
        f"{defaults.heading}: {defaults.scope.sentence()}. Levels after 'or' are proved "
        "as good; below each, the textbook's choice and what became of it. "
        f"{' '.join(whole_recipes(defaults))}"
    )
    lines += [r"\hline", r"\end{tabular}", rf"\caption{{{escaped(caption)}}}", r"\end{table}"]
    return "\n".join([*lines, *_effects(defaults), *_caveats(defaults), ""])


def _effects(defaults: Defaults) -> list[str]:
    """A second table: every compared level against the recommended one; nothing of a file without them."""
    rows = [(row, each) for row in defaults.rows for each in row.effects or ()]
    if not rows:
        return []
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\begin{tabular}{llrrrr}",
        r"\hline",
        r"Row & Level & Margins & 95 \% & Points & Families \\",
        r"\hline",
    ]
    for row, each in rows:
        ends = "--" if each.interval is None else f"[{each.interval[0]:+.2f}, {each.interval[1]:+.2f}]"
        numbers = [f"{each.margins:+.2f}", ends, f"{each.points:+.2f}", str(each.tasks)]
        named = [escaped(row.name), escaped(f"{each.level} against {row.recommended}")]
        lines.append(" & ".join([*named, *numbers]) + r" \\")
    caption = " ".join(
        f"{one[:1].upper()}{one[1:]}." for one in (defaults.reading.effects, defaults.reading.margins) if one
    )
    return [*lines, r"\hline", r"\end{tabular}", rf"\caption{{{escaped(caption)}}}", r"\end{table}"]


def _caveats(defaults: Defaults) -> list[str]:
    items = [rf"\item {escaped(f'{whose}: {note}.')}" for whose, note in caveats(defaults)]
    return [r"\begin{itemize}", *items, r"\end{itemize}"] if items else []


def _shown(cell: TextbookCell | None) -> str:
    if cell is None:
        return "--"
    first = rf"\textbf{{{escaped(cell.recommended)}}}"
    return " or ".join([first, *map(escaped, cell.as_good)])


def _book(cell: TextbookCell | None) -> str:
    if cell is None:
        return ""
    named = " or ".join(cell.textbook)
    return rf"\footnotesize {escaped(f'{named}: {cell.mark}' if named else cell.mark)}"
