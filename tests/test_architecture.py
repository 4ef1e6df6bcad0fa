"""The house holds: imports run one way, each heavy library has one door, reading needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LINE = ("search_spaces", "trainers", "reports", "studies")
"""Each package may import itself and the ones to its left."""

INTERFACE = "studies/interface"
"""Holds the package that users import, which nothing of ours does."""

DOORS: dict[str, frozenset[str]] = {
    "optuna": frozenset({"studies/samplers.py", "studies/search/optuna_study.py"}),
    "ray": frozenset(
        (
            "studies/execution/ray_workers.py",
            *(f"studies/execution/{part}.py" for part in ("existing_cluster", "local_cluster", "trainable")),
        )
    ),
    "mlflow": frozenset(
        f"studies/tracking/{part}.py" for part in ("client", "database", "removal", "server")
    ),
    "fsspec": frozenset(
        (
            *(f"studies/tracking/{part}.py" for part in ("artifact_folder", "report_artifacts")),
            "trainers/tasks/download.py",
        )
    ),
    "sqlite3": frozenset(
        f"studies/{part}.py" for part in ("ledger/free_space", "ledger/sqlite", "tracking/sqlite")
    ),
    "psycopg": frozenset({"studies/ledger/postgresql.py", "studies/ledger/sessions.py"}),
    "sqlalchemy": frozenset(),
    "yaml": frozenset(
        (
            "studies/spec/yaml_reader.py",
            "reports/io/yaml_limits.py",
            "reports/io/dataclass_files.py",
            "reports/defaults/defaults_file.py",
        )
    ),
    "pydantic": frozenset(
        (
            *("studies/spec/study_spec.py", "studies/spec/load.py", "studies/search/spec.py"),
            *("studies/spec/sections.py", "studies/spec/pydantic_errors.py"),
            *("reports/io/dataclass_files.py", "reports/defaults/json_schema.py"),
        )
    ),
    "typer": frozenset(
        (
            "studies/cli.py",
            *(
                f"studies/commands/{part}.py"
                for part in (
                    *(
                        "completion",
                        "options",
                        "path_arguments",
                        "prepare",
                        "run",
                        "results_commands",
                        "submit",
                        "cluster_jobs",
                        "lifecycle",
                    ),
                )
            ),
        )
    ),
    "click": frozenset(),
    "groundrules": frozenset(
        f"{INTERFACE}/groundrules/{part}.py"
        for part in ("__init__", "__main__", "_jobs", "_lifecycle", "_results", "_running", "_tables")
    ),
    "rich": frozenset({"studies/execution/progress.py"}),
    "matplotlib": frozenset({"reports/pages/figures.py"}),
    "torchvision": frozenset({"trainers/tasks/images.py"}),
    "jinja2": frozenset({"reports/pages/study_page.py", "reports/export/torch_file.py"}),
}
"""Library -> the only files that may import it."""

VAGUE = frozenset(
    ("core", "common", "util", "utils", "helper", "helpers", "base", "manager", "managers", "handler", "misc")
)

TORCH_FREE = ("search_spaces.factor", "search_spaces.config", "trainers.evaluation", "studies.ledger.ledger")
"""Modules that read and judge, besides those of `reports`: they must work where torch is not loaded."""

READ_THE_CATALOGUE = frozenset(
    (
        *(
            "reports.verdicts.hyperparameter_values",
            "reports.defaults.recipes",
            "reports.defaults.defaults_file",
            "reports.pages.study_page",
            "reports.pages.search_page",
        ),
        "reports.export.formats",
        *("reports.defaults.provenance", "reports.export.torch_levels", "reports.export.torch_file"),
        "reports.export.torch_regime",
        *("reports.export.optuna_file", "reports.export.diff_text", "reports.defaults.diff"),
        *("reports.pages.index_page", "reports.pages.claim_pages", "reports.evidence.range_edges"),
        *(
            "reports.evidence.range_scan_record",
            "reports.pages.range_scan_page",
            "reports.defaults.reference_tables",
        ),
    )
)
"""They name ranges from the catalogue, whose rows hold functions of torch."""


def modules(root: Path) -> list[Path]:
    """Every Python file of the four packages."""
    return sorted(path for package in LINE for path in (root / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere in it, functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def violations(root: Path) -> list[str]:
    """Every import that runs the wrong way or through the wall, as 'file imports name: rule'."""
    found = []
    for path in modules(root):
        file = path.relative_to(root).as_posix()
        place = LINE.index(file.split("/")[0])
        for name in imported(path):
            top = name.split(".")[0]
            if name == ".":
                found.append(f"{file} imports relatively: write the full name")
            elif top in LINE and LINE.index(top) > place:
                found.append(f"{file} imports {name}: {top} comes later in the line")
            elif top in ("tests", "infra"):
                found.append(f"{file} imports {name}: nobody imports {top}")
            elif file not in DOORS.get(top, {file}):
                found.append(
                    f"{file} imports {name}: its door is {', '.join(sorted(DOORS[top])) or 'closed'}"
                )
    return found


def test_imports_run_one_way_and_through_the_doors() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("search_spaces/a.py", "from trainers.loop.pack import train_pack", "trainers comes later"),
        ("trainers/a.py", "def f():\n    import reports.pages.study_page", "reports comes later"),
        ("reports/a.py", "import matplotlib.pyplot as plt", "its door is reports/pages/figures.py"),
        ("studies/a.py", "from sqlalchemy import text", "its door is closed"),
        (
            "studies/a.py",
            "import importlib\nimportlib.import_module('ray.tune')",
            "its door is studies/execution/existing_cluster.py",
        ),
        ("studies/a.py", "from . import plan", "relatively"),
        ("trainers/a.py", "import tests.conftest", "nobody imports tests"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, line: str, rule: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(line, encoding="utf-8")
    (found,) = violations(tmp_path)
    assert file in found
    assert rule in found


def test_files_are_named_for_their_idea() -> None:
    places = [*LINE, "tests", "infra"]
    names = [
        path for place in places for path in (ROOT / place).rglob("*") if "__pycache__" not in path.parts
    ]
    assert [str(path) for path in names if path.stem.lower() in VAGUE] == []


def judging() -> list[str]:
    """The dotted names of everything in `reports`, except what reads the catalogue."""
    files = [path for path in modules(ROOT) if path.parts[len(ROOT.parts)] == "reports"]
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files
    }
    return sorted(names - READ_THE_CATALOGUE)


def test_reading_and_judging_need_no_torch() -> None:
    names = [*judging(), *TORCH_FREE]
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_the_distribution_ships_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = project["tool"]["setuptools"]["package-dir"]
    on_disk = {path.parent.relative_to(ROOT).as_posix() for path in modules(ROOT)}
    shipped = {
        folders.get(name, name.replace(".", "/")) for name in project["tool"]["setuptools"]["packages"]
    }
    assert shipped == on_disk


def test_every_package_that_is_imported_ships_its_types() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    tops = {name for name in setup["packages"] if "." not in name}
    assert {name for name in tops if "py.typed" in setup["package-data"].get(name, ())} == tops


def test_the_distribution_ships_every_file_that_its_code_reads() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    shipped = {
        path
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for path in (ROOT / setup["package-dir"].get(package, package.replace(".", "/"))).glob(pattern)
    }
    on_disk = {path for place in LINE for path in (ROOT / place).rglob("*") if path.is_file()}
    read = {path for path in on_disk if path.suffix not in (".py", ".pyc") and path.name != "README.md"}
    assert read - shipped == set()


def test_every_dependency_is_pinned_where_it_was_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["dev"], *extras["docs"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line and not line.startswith("#")}
    names = {text.split(">=")[0].split("[")[0].lower() for text in asked}
    assert names - pinned == set()
