"""The formats that a defaults file is written in: one row and one function each.

The command line offers what the table holds, so that this module loads no writer before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.io.dataclass_files import json_text, yaml_text
from search_spaces.factor import unknown

if TYPE_CHECKING:
    from reports.defaults.schema import Defaults


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format."""

    write: Callable[[Defaults], str]
    """The file's text; equal for equal defaults."""
    reads_back: bool = False
    """`reports.defaults.defaults_file.load` reads it; only such a file may have no rows."""
    notes: Callable[[Defaults], tuple[str, ...]] = lambda _: ()
    """What the file leaves out, for whoever writes it."""


def render(defaults: Defaults, format: str) -> str:
    """The file's text in one of FORMATS; equal for equal defaults.

    Raises:
        ValueError: an unknown format, or a table without rows in one that is made of recipes; for 'python'
            also a recipe that cannot be written as plain PyTorch.
    """
    if format not in FORMATS:
        raise unknown("format of defaults", format, FORMATS)
    row = FORMATS[format]
    if not defaults.rows and not row.reads_back:
        raise ValueError(f"table '{defaults.table}' has no rows to write as {format}")
    return row.write(defaults)


def _markdown(defaults: Defaults) -> str:
    from reports.export.markdown import markdown

    return markdown(defaults)


def _latex(defaults: Defaults) -> str:
    from reports.export.latex import latex

    return latex(defaults)


def _python(defaults: Defaults) -> str:
    from reports.export.torch_file import torch_file

    return torch_file(defaults)


def _python_notes(defaults: Defaults) -> tuple[str, ...]:
    from reports.export.torch_file import left_out, to_know

    return (*left_out(defaults), *to_know(defaults))


def _optuna(defaults: Defaults) -> str:
    from reports.export.optuna_file import optuna_file

    return optuna_file(defaults)


FORMATS: Mapping[str, Format] = {
    "yaml": Format(write=yaml_text, reads_back=True),
    "json": Format(write=json_text, reads_back=True),
    "markdown": Format(write=_markdown),
    "latex": Format(write=_latex),
    "python": Format(write=_python, notes=_python_notes),
    "optuna": Format(write=_optuna),
}
