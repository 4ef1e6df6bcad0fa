"""The surface of `import groundrules as gr`: frozen, documented, cheap to import, as wide as the commands."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_group

import groundrules as gr
from studies.cli import COMMANDS, app

GOLDEN = Path(__file__).parents[1] / "golden" / "interface.txt"
TYPES = ("StudyLike", "TaskLike")
"""Names that stand for a union of types."""
OBJECTS = ("Figure", "Results")
FUNCTIONS = [name for name in gr.__all__ if name not in (*TYPES, *OBJECTS, "Task")]


def test_every_command_of_the_program_has_its_counterpart() -> None:
    commands = get_group(app).commands
    assert set(commands) == set(COMMANDS)
    for name, shown in commands.items():
        python = COMMANDS[name].python
        assert python in gr.__all__, f"groundrules {name}: there is no groundrules.{python}"
        assert callable(getattr(gr, python))
        assert shown.epilog == f"In Python: groundrules.{python}"


def test_names_are_the_same_for_users_type_checkers_and_at_run_time() -> None:
    tree = ast.parse(Path(str(gr.__file__)).read_text(encoding="utf-8"))
    checked = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert seen == gr._HOMES
    assert sorted(gr.__all__) == sorted(seen) == sorted(set(dir(gr)) - {"__version__"})
    for name in gr.__all__:
        assert getattr(gr, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'groundrules' has no attribute 'runn'"):
        gr.runn  # type: ignore[attr-defined]  # noqa: B018


def signatures() -> str:
    """One line for each name: what may be given, and what comes back."""
    lines = [f"{name}{inspect.signature(getattr(gr, name))}" for name in FUNCTIONS]
    for owner in OBJECTS:
        members = vars(getattr(gr, owner))
        lines += [
            f"{owner}.{name}{inspect.signature(member) if inspect.isfunction(member) else ''}"
            for name, member in sorted(members.items())
            if not name.startswith("_")
        ]
        lines += [f"{owner}.{name}: {kind}" for name, kind in getattr(gr, owner).__annotations__.items()]
    return "\n".join(lines) + "\n"


def test_the_surface_is_as_it_was_promised() -> None:
    """What goes or changes breaks programs: rewritten by GROUNDRULES_REWRITE_GOLDEN=1 only."""
    if os.environ.get("GROUNDRULES_REWRITE_GOLDEN"):
        GOLDEN.write_text(signatures(), encoding="utf-8")
    assert signatures().splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_docstring_says_what_is_given_what_comes_and_how_it_is_called(name: str) -> None:
    function = getattr(gr, name)
    text = inspect.getdoc(function) or ""
    assert "Examples:" in text and ">>> " in text
    if "; see `Results." in text:  # short for a method that says it all
        return
    parameters = [p for p in inspect.signature(function).parameters if f"    {p}: " not in text]
    assert parameters == [], f"groundrules.{name} does not say what these are"
    assert "Raises:" in text


@pytest.mark.parametrize("name", OBJECTS)
def test_what_comes_back_is_documented(name: str) -> None:
    owner = getattr(gr, name)
    public = [member for member in vars(owner) if not member.startswith("_")]
    members = [m for m in public if not (name == "Results" and m == "summary")]
    undocumented = [
        member
        for member in members
        if not (inspect.getdoc(getattr(vars(owner)[member], "func", vars(owner)[member])))
    ]
    assert undocumented == []


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, groundrules\n"
        "libraries = {'torch', 'numpy', 'pandas', 'mlflow', 'ray', 'optuna', 'typer'}\n"
        "heavy = libraries | {'studies', 'reports', 'trainers', 'search_spaces'}\n"
        "print(sorted(heavy & set(sys.modules)), groundrules.__version__ != '')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/", timeout=60
    )
    assert ran.stdout == "[] True\n"
