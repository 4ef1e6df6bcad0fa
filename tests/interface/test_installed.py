"""The wheel: its packages, its types, and whose modules win in a script, a notebook and the program."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from tests.blackbox.program import environment as plain_environment
from tests.interface.installed import environment, wheel

USER_SCRIPT = """
import groundrules as gr
from groundrules import Results, Task

def churn() -> Task:
    return Task.from_arrays([[0.0], [1.0]] * 20, [0, 1] * 20, kind="classification", name="churn")

results: Results = gr.run({"study": "mine"}, tasks=[churn, "wine"], engine="inline", profile="quick")
for verdict in results.verdicts:
    print(verdict.factor.upper(), verdict.label, verdict.effects[0].margins + 1.0)
rows: list[str] = [row.recommended for row in results.defaults.rows]
reveal_type(gr.plan("quickstart"))
reveal_type(results.figure("a").svg)
"""
WRONG = """
import groundrules as gr

gr.run("quickstart", engine="rya")
gr.load_results("quickstart").verdict
gr.runs("quickstart")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that the wheel was unpacked into."""
    folder = tmp_path_factory.mktemp("installed")
    return environment(folder, wheel(folder))


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=plain_environment(), capture_output=True, text=True,
        check=False, timeout=240, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_typed_script_passes_against_what_is_installed_and_a_wrong_one_does_not(
    python: Path, tmp_path: Path
) -> None:
    for name, text in (("right", USER_SCRIPT), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    words = (
        "--strict",
        "--python-executable",
        python,
        "--config-file",
        "",
        "--cache-dir",
        tmp_path / "cache",
    )
    said = call(sys.executable, "-m", "mypy", *words, "right.py", "wrong.py", cwd=tmp_path).stdout
    right = [line for line in said.splitlines() if line.startswith("right.py")]
    assert [line for line in right if "error:" in line] == [], said
    revealed = [line.partition('Revealed type is "')[2] for line in right if "Revealed type" in line]
    assert [text.partition('"')[0].partition(" ")[0] for text in revealed] == [
        "studies.operations.planning.StudyPlan",
        "str",
    ], said
    wrong = [line for line in said.splitlines() if line.startswith("wrong.py")]
    told = ('Argument "engine"', '"Results" has no attribute "verdict"', 'has no attribute "runs"')
    assert len(wrong) == len(told), said
    assert all(words in line for words, line in zip(told, wrong, strict=True)), said


def test_the_wheel_holds_one_copy_of_the_interface(python: Path) -> None:
    (built,) = python.parents[2].glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"groundrules", "search_spaces", "trainers", "reports", "studies"}
    assert not [name for name in names if name.startswith("studies/interface")]
    assert {name for name in names if name.endswith("py.typed")} == {f"{top}/py.typed" for top in tops}


@pytest.mark.parametrize("start", [("groundrules",), ("python", "-m", "groundrules")])
def test_the_program_starts(python: Path, tmp_path: Path, start: tuple[str, ...]) -> None:
    for name in ("search_spaces", "trainers", "reports", "studies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    said = call(python.with_name(start[0]), *start[1:], "plan", "quickstart", "--json", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    version = call(python.with_name(start[0]), *start[1:], "--version", cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, "groundrules 0.1.0\n")


def script(python: Path, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return call(python, "script.py", cwd=folder)


def test_a_script_beside_packages_of_our_names_gets_ours(python: Path, tmp_path: Path) -> None:
    for name in ("search_spaces", "trainers", "reports", "studies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    said = script(python, tmp_path, "import groundrules as gr; print(gr.catalog('dropout').name)")
    assert (said.returncode, said.stdout) == (0, "dropout\n"), said.stderr


def test_what_was_imported_before_is_named_as_what_is_in_the_way(python: Path, tmp_path: Path) -> None:
    (tmp_path / "reports.py").touch()
    said = script(python, tmp_path, "import reports\nimport groundrules")
    last = said.stderr.strip().splitlines()[-1]
    assert said.returncode == 1
    assert last.startswith(f"ImportError: {tmp_path / 'reports.py'} is in the way: it is imported as")
