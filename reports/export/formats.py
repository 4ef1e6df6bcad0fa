"""The formats that a defaults file is written in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import yaml

from reports.defaults.schema import Defaults
from reports.export.latex import latex
from reports.export.markdown import markdown
from reports.export.optuna_file import optuna_file
from reports.export.torch_file import torch_file
from reports.io.dataclass_files import to_dict
from search_spaces.factor import unknown

FORMATS = ("yaml", "json", "markdown", "latex", "python", "optuna")
"""All of them; the first two are read back (`reports.defaults.defaults_file.load`)."""


def render(defaults: Defaults, format: str) -> str:
    """The file's text in one of FORMATS; equal for equal defaults.

    Raises:
        ValueError: an unknown format, or a table without rows in one that is made of recipes; for 'python'
            also a recipe that cannot be written as plain PyTorch.
    """
    if format == "yaml":
        plain = to_dict(defaults)
        return str(
            yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
        )
    if format == "json":
        return json.dumps(to_dict(defaults), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format in WRITERS:
        if not defaults.rows:
            raise ValueError(f"table '{defaults.table}' has no rows to write as {format}")
        return WRITERS[format](defaults)
    raise unknown("format of defaults", format, FORMATS)


WRITERS: Mapping[str, Callable[[Defaults], str]] = {
    "markdown": markdown,
    "latex": latex,
    "python": torch_file,
    "optuna": optuna_file,
}
"""Formats that are written, never read back."""
