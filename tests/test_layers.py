"""Folders import only what lies below them, and no modules import each other in a circle.

Imports in functions and for annotations alone count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = {
    "trainers": (
        *("task", "fetching", "tools", "config_audit", "loop", "diagnostics", "losses", "networks", "tasks"),
        *("effective_values", "member", "evaluation", "processor", "tensors", "randomness"),
        *("atomic_files", "versions"),
    ),
    "reports": ("pages", "export", "claims", "defaults", "verdicts", "evidence", "statistics", "io"),
    "studies": (
        *("interface", "cli", "commands", "operations", "lifecycle", "workspace_files", "cluster", "run"),
        *("resource_estimate", "free_resources", "load_study", "resume_checks"),
        *("network_changes", "kinds", "range_scan", "search", "simulation", "tracking", "comparison"),
        "execution",
        *("ledger", "packing", "structure_cache", "site", "spec", "samplers", "process_setup"),
    ),
}
"""Package -> its folders and single modules from the top down: each imports only those after it."""

AGAINST = {("trainers.loop.pack", "trainers.config_audit"): "every pack is held against its configuration"}
"""(module, what it imports) -> why this one may look up."""

PACKAGES = ("search_spaces", "trainers", "reports", "studies")
"""Packages whose modules are free of circles."""


def module_files(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module."""
    files = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return {".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imports(root: Path) -> dict[str, set[str]]:
    """Module -> the modules that its text names in imports, wherever they stand in it."""
    files = module_files(root)
    graph: dict[str, set[str]] = {}
    for module, file in files.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                # "from package import name" names a submodule where there is one, else the package itself.
                inner = (f"{node.module}.{alias.name}" for alias in node.names)
                names.update(name if name in files else str(node.module) for name in inner)
        graph[module] = (names & files.keys()) - {module}
    return graph


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle, the first of them again at the end; [] where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = imports(ROOT)
    assert sum(map(len, graph.values())) > 300, "the imports were not read"
    assert circle(graph) == []


@pytest.mark.parametrize(
    "back",
    [
        "from reports.a import x",
        "import reports.a",
        "from reports import a",
        "def f():\n    from reports.a import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reports.a import x",
    ],
)
def test_a_planted_circle_is_found(tmp_path: Path, back: str) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, text in {"a": "from reports.b import x", "b": "from reports.c import x", "c": back}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    assert set(circle(imports(tmp_path))) == {"reports.a", "reports.b", "reports.c"}


@pytest.mark.parametrize("package", LAYERS)
def test_folders_import_only_what_lies_below_them(package: str) -> None:
    height = {name: -depth for depth, name in enumerate(LAYERS[package])}
    upwards = {
        (module, target)
        for module, targets in imports(ROOT).items()
        for target in targets
        if module.startswith(f"{package}.") and target.startswith(f"{package}.")
        if height[module.split(".")[1]] < height[target.split(".")[1]]
    }
    assert upwards == {pair for pair in AGAINST if pair[0].startswith(f"{package}.")}


@pytest.mark.parametrize("package", LAYERS)
def test_every_folder_has_its_layer(package: str) -> None:
    assert set(LAYERS[package]) == {
        name.split(".")[1] for name in module_files(ROOT) if name.startswith(f"{package}.")
    }
