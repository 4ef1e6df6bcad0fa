"""MkDocs hooks: the pages and tables that are generated from code, and pages that live elsewhere in the tree.

MkDocs loads this file by the `hooks` key of mkdocs.yml. A page of the reference is one row of PAGES; a table
inside a written page is one row of TABLES, put where the page says `<!-- generated: NAME -->`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "studies" / "interface")]
os.environ["COLUMNS"] = "100"  # the width of the usage lines that Typer prints

from infra import docs_reference as reference  # noqa: E402 - the tree is found first

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": reference.commands,
    "reference/python.md": reference.public_interface,
    "reference/modules.md": reference.modules,
    "reference/levels.md": lambda: reference.shared("search_spaces/CATALOGUE.md"),
    "reference/techniques.md": lambda: reference.shared("search_spaces/TECHNIQUES.md"),
    "results/guidelines.md": lambda: reference.shared("reports/published/guidelines.md"),
    "results/crossover.md": lambda: reference.shared("reports/published/crossover.md"),
    "project/operating.md": lambda: reference.shared("infra/README.md", title="Operating a cluster"),
    "project/security.md": lambda: reference.shared("infra/security.md"),
    "project/decisions.md": lambda: reference.shared("infra/decisions.md"),
}
"""Page -> its Markdown."""

TABLES: Mapping[str, Callable[[], str]] = {
    "study keys": reference.guideline_keys,
    "budget keys": reference.budget_keys,
    "claim keys": reference.claim_keys,
    "control keys": reference.control_keys,
    "search keys": reference.search_keys,
    "settings": reference.settings,
    "profiles": reference.profiles,
    "shipped studies": reference.shipped_studies,
    "quickstart": reference.quickstart_file,
}
"""Name -> its Markdown."""

MARK = re.compile(r"<!-- generated: ([a-z ]+) -->")


def on_files(files: Any, *, config: Any) -> Any:
    """Adds the generated pages to those of the folder."""
    from mkdocs.structure.files import File

    for uri, text in PAGES.items():
        files.append(File.generated(config, uri, content=text()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Puts the generated tables in place; KeyError for a name that no row of TABLES has."""
    return MARK.sub(lambda mark: TABLES[mark[1]](), markdown)
