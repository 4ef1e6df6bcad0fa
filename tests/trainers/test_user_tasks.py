"""A user's task file is run in isolation, and each of its problems is one message naming the file."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from trainers.tasks import TASKS
from trainers.tasks.user_tasks import load_user_tasks, task_book

ROOT = Path(__file__).parents[2]

GOOD = """
import numpy as np
from dataclasses import dataclass
from trainers.tasks.task import Task

@dataclass
class Source:
    seed: int = 0

def lines():
    x = np.random.default_rng(Source().seed).standard_normal((100, 3))
    return Task.from_arrays(x, x.sum(axis=1), kind="regression", name="lines")

def signs(name="signs"):
    x = np.random.default_rng(1).standard_normal((100, 2))
    return Task.from_arrays(x, x[:, 0] > 0, kind="classification", name=name)

TASKS = [lines, signs]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "my_tasks.py"
    file.write_text(dedent(text))
    return file


def test_a_file_of_functions_becomes_tasks_by_name(tmp_path: Path) -> None:
    book = load_user_tasks(written(tmp_path, GOOD))
    assert list(book) == ["lines", "signs"]
    assert book["lines"]().kind == "regression"
    assert book["lines"]() is book["lines"]()


def test_a_builder_can_be_sent_to_another_process(tmp_path: Path) -> None:
    build = load_user_tasks(written(tmp_path, GOOD))["signs"]
    assert pickle.loads(pickle.dumps(build))().content_hash == build().content_hash


def test_the_book_holds_shipped_and_own_tasks(tmp_path: Path) -> None:
    book = task_book(written(tmp_path, GOOD))
    assert set(book) == {*TASKS, "lines", "signs"}
    assert task_book(None) == TASKS


def test_nothing_is_left_beside_the_file_and_an_edit_is_seen_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    load_user_tasks(file)
    file.write_text(GOOD.replace('"lines"', '"links"'))  # the same length, within the same second
    assert list(load_user_tasks(file)) == ["links", "signs"]
    assert [f.name for f in tmp_path.iterdir()] == ["my_tasks.py"]


BAD: dict[str, tuple[str, str]] = {
    "raises": (
        GOOD + "def bad():\n    return 1 / 0\nTASKS = [bad]",
        "TASKS[0] (bad) fails: line 20: ZeroDivision",
    ),
    "exits": (GOOD + "def bad():\n    raise SystemExit(3)\nTASKS = [bad]", "TASKS[0] (bad) fails"),
    "NaN": (
        GOOD
        + "def bad():\n    return Task.from_arrays([[np.nan]] * 50, range(50), kind='regression', name='n')\n"
        + "TASKS = [lines, bad]",
        "TASKS[1] (bad) fails: line 20: ValueError: task 'n': x has NaN",
    ),
    "one class": (
        GOOD
        + "def bad():\n    return Task.from_arrays(np.eye(50), [1] * 50, kind='classification', name='n')\n"
        + "TASKS = [bad]",
        "y has one class only",
    ),
    "needs an argument": (GOOD + "TASKS = [lambda n: lines()]", "TASKS[0] (<lambda>) fails: TypeError"),
    "returns something else": (
        GOOD + "TASKS = [dict]",
        "TASKS[0] (dict) returns dict; it must return a trainers Task",
    ),
    "no TASKS": ("X = 1", "has no TASKS; it must hold a list TASKS of functions"),
    "TASKS is a function": (GOOD + "TASKS = lines", "has TASKS of type function"),
    "TASKS is a dict": (GOOD + "TASKS = {'lines': lines}", "has TASKS of type dict"),
    "TASKS is empty": ("TASKS = []", "TASKS is empty"),
    "a name, no function": (GOOD + "TASKS = ['lines']", "TASKS[0] is str, not a function"),
    "a task, no function": (GOOD + "TASKS = [lines()]", "write the function itself, without calling it"),
    "one name twice": (
        GOOD + "TASKS = [lines, lambda: signs('lines')]",
        "TASKS[0] (lines) and TASKS[1] (<lambda>) both name their task 'lines'",
    ),
    "bad name": (GOOD + "TASKS = [lambda: signs('a/b')]", "its name 'a/b' must match"),
    "syntax error": ("def lines(:\n    pass", "does not run: line 1: SyntaxError"),
    "unknown module": ("import no_such_module", "does not run: line 1: ModuleNotFoundError"),
    "stops while it runs": ("x = 1\nraise SystemExit('bye')", "does not run: line 2: SystemExit: bye"),
    "null bytes": ("TASKS = []\0", "does not run"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_it(case: str, tmp_path: Path) -> None:
    text, said = BAD[case]
    file = written(tmp_path, text)
    with pytest.raises(ValueError, match=r".") as refused:
        load_user_tasks(file)
    message = str(refused.value)
    assert said in message
    assert str(file) in message
    assert "\n" not in message


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.py", tmp_path):
        with pytest.raises(ValueError, match=f"no file {path}"):
            task_book(path)


def test_a_shipped_name_is_not_taken_over(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD + "TASKS = [lambda: signs('digits')]")
    with pytest.raises(ValueError, match=f"{file}: a task named 'digits' ships already"):
        task_book(file)


def test_a_module_beside_the_file_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "my_rows.py").write_text("ROWS = []")
    file = written(tmp_path, "from my_rows import ROWS\nTASKS = ROWS")
    with pytest.raises(ValueError, match=r"files beside my_tasks.py are not imported, install 'my_rows'"):
        load_user_tasks(file)


def test_a_failed_file_leaves_no_module_behind(tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(ValueError, match="does not run"):
        load_user_tasks(written(tmp_path, "raise RuntimeError('no')"))
    assert {name for name in set(sys.modules) - before if name.startswith("groundrules_user_tasks")} == set()


def test_folders_of_the_user_named_like_ours_shadow_nothing(tmp_path: Path) -> None:
    for package in ("trainers", "trainers/tasks", "reports", "studies", "search_spaces"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    written(tmp_path, GOOD)
    elsewhere = tmp_path / "bin"
    elsewhere.mkdir()
    script = elsewhere / "start.py"  # as an installed command: its folder is on the path, not the user's
    script.write_text(
        dedent("""
            from trainers.tasks.user_tasks import task_book
            book = task_book("my_tasks.py")
            import reports, trainers, trainers.tasks.task
            assert type(book["lines"]()) is trainers.tasks.task.Task
            print(reports.__file__, trainers.__file__)
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(ROOT / "reports/__init__.py"), str(ROOT / "trainers/__init__.py")]
