"""Defaults as a LaTeX table in the textbook's layout, for other documents; plain LaTeX without packages."""

from __future__ import annotations

from collections.abc import Mapping

from reports.exporting.layout import Cell, grid
from reports.recommended import Defaults

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
    heading = "Recommended defaults" if defaults.general else "Answers on these tasks"
    caption = (
        f"{heading} of the study {defaults.table}: {defaults.scope.sentence()}. Levels after 'or' are proved "
        "as good; below each, the textbook's choice and what became of it. Rows were judged one at a time."
    )
    return "\n".join(
        [*lines, r"\hline", r"\end{tabular}", rf"\caption{{{escaped(caption)}}}", r"\end{table}", ""]
    )


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    first = rf"\textbf{{{escaped(cell.recommended)}}}"
    return " or ".join([first, *map(escaped, cell.as_good)])


def _book(cell: Cell | None) -> str:
    if cell is None:
        return ""
    named = " or ".join(cell.textbook)
    return rf"\footnotesize {escaped(f'{named}: {cell.mark}' if named else cell.mark)}"
