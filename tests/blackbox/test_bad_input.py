"""Every mistake is one message that names file, key, rule and nearest name; exit 2; nothing written."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.blackbox.program import TINY, Ran, contents, groundrules, invoked, kill_group, start

StudyFile = Callable[..., Path]

MISTAKES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "misspelt key": ("title:", "titel:", ("titel", "did you mean 'title'?", "Allowed:")),
    "misspelt key inside": ("trials: 2", "trails: 2", ("budget.trails", "did you mean 'trials'?")),
    "missing key": ("tasks: [", "pack_size: 4\n#", ("tasks", "missing")),
    "key given twice": ("study: tiny", "study: tiny\nstudy: other", ("'study'", "twice")),
    "unknown factor": ("factor: initializer", "factor: initialiser", ("questions[0]", "'initializer'?")),
    "unknown level": ("he_normal,", "he_norml,", ("questions[0].levels", "'he_normal'?", "orthogonal")),
    "no levels": ("[he_normal, glorot_normal]", "[]", ("questions[0].levels", "at least 2")),
    "level listed twice": ("glorot_normal]", "he_normal]", ("questions[0].levels", "twice")),
    "unknown task": ("tasks: [wine,", "tasks: [whine,", ("tasks", "did you mean 'wine'?", "digits")),
    "misspelt setting in a regime": ("{depth: 2}", "{dept: 2}", ("regimes.shallow", "did you mean 'depth'?")),
    "no regimes": ("  shallow: {depth: 2}\n  deep: {depth: 4}\n", "", ("regimes",)),
    "setting outside its limits": ("depth: 2", "depth: 0", ("regimes.shallow", "[1, 100]", "0")),
    "range outside its limits": (
        "nuisance: [learning_rate]",
        "nuisance: {learning_rate: {low: 1.0e-30, high: 1.0}}",
        ("nuisance.learning_rate", "limits", "1e-30"),
    ),
    "number that no level opens": ("[learning_rate]", "[momentun]", ("nuisance", "did you mean 'momentum'?")),
    "unknown sampler": ("sampler: sobol", "sampler: sobel", ("sampler", "sobol")),
    "not a number": ("trials: 2", "trials: many", ("budget.trials", "many")),
    "a name that is a path": ("study: tiny", "study: ../tiny", ("study", "../tiny")),
    "an alias": ("title:", "alpha: &a 0.05\ntitle:", ("aliases",)),
    "not YAML": ("regimes:", "regimes: [", ("line", "YAML")),
}

TASK_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a function that raises": (
        "def mine(): raise RuntimeError('the disk is gone')\nTASKS = [mine]\n",
        ("mine", "the disk is gone"),
    ),
    "NaN in the data": (
        "import numpy as np\nfrom trainers.tasks.task import Task\n"
        "def mine():\n"
        "    x = np.ones((60, 2)); x[7, 1] = np.nan\n"
        "    return Task.from_arrays(x, np.arange(60) % 2, kind='classification', name='mine')\n"
        "TASKS = [mine]\n",
        ("mine", "NaN"),
    ),
    "one class only": (
        "import numpy as np\nfrom trainers.tasks.task import Task\n"
        "def mine():\n"
        "    x = np.random.default_rng(0).normal(size=(60, 2))\n"
        "    return Task.from_arrays(x, np.zeros(60), kind='classification', name='mine')\n"
        "TASKS = [mine]\n",
        ("mine", "one class"),
    ),
    "no list of tasks": ("def mine(): return None\n", ("TASKS",)),
    "something else than a task": ("def mine(): return 3\nTASKS = [mine]\n", ("mine", "Task")),
    "an error of syntax": ("TASKS = [\n", ("line",)),
    "a name that ships": (
        "import numpy as np\nfrom trainers.tasks.task import Task\n"
        "def wine():\n"
        "    x = np.random.default_rng(0).normal(size=(60, 2))\n"
        "    return Task.from_arrays(x, np.arange(60) % 2, kind='classification', name='wine')\n"
        "TASKS = [wine]\n",
        ("wine",),
    ),
}


def refused(ran: Ran, *words: str) -> None:
    """Exit 2 with one message that holds all the words, and no traceback."""
    assert ran.code == 2, ran.said
    assert "Traceback" not in ran.said
    message = " ".join(ran.err.split())
    assert message, "the message belongs on standard error"
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {ran.err}"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_study_file_is_refused(
    name: str, study_file: StudyFile, workspace: Path, tmp_path: Path
) -> None:
    old, new, words = MISTAKES[name]
    file = study_file((old, new))
    before = contents(tmp_path)
    refused(invoked("run", file, "--engine", "inline", workspace=workspace), file.name, *words)
    assert contents(tmp_path) == before
    assert not workspace.exists()


@pytest.mark.parametrize("name", TASK_FILES)
def test_a_mistake_in_a_task_file_is_refused(
    name: str, study_file: StudyFile, workspace: Path, tmp_path: Path
) -> None:
    text, words = TASK_FILES[name]
    mine = tmp_path / "my_tasks.py"
    mine.write_text(text, encoding="utf-8")
    file = study_file(("tasks: [wine,", "tasks: [mine, wine,"))
    before = contents(tmp_path)
    ran = invoked("run", file, "--tasks-from", mine, "--engine", "inline", workspace=workspace)
    refused(ran, "my_tasks.py", *words)
    assert contents(tmp_path) == before
    assert not workspace.exists()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_installed_program_says_the_same(
    command: str, study_file: StudyFile, workspace: Path, tmp_path: Path
) -> None:
    file = study_file(("he_normal,", "he_norml,"))
    before = contents(tmp_path)
    ran = groundrules(command, file, workspace=workspace, cwd=tmp_path, expect=None)
    refused(ran, file.name, "questions[0].levels", "'he_normal'?")
    assert ran.err == invoked(command, file, workspace=workspace).err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "quickstrat"), ("quickstrat", "did you mean 'quickstart'?")),
        (("run", "quickstart", "--tasks-from", "nowhere.py"), ("nowhere.py",)),
        (("run", "quickstart", "--engine", "rey"), ("rey", "ray")),
        (("run", "quickstart", "--workers", "0"), ("--workers", "greater than or equal to 1")),
        (("run", "quickstart", "--worker", "2"), ("--worker", "--workers")),
        (("export", "tiny", "--format", "yml"), ("yml", "yaml")),
        (("report", "tiny"), ("workspace", "run a study first")),
        (("results", "tiny"), ("workspace", "run a study first")),
    ],
)
def test_a_mistake_on_the_command_line_is_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], workspace: Path
) -> None:
    refused(invoked(*arguments, workspace=workspace), *words)
    assert not workspace.exists()


@pytest.mark.parametrize("command", ["report", "export", "results"])
def test_a_study_that_was_never_run_is_named_with_its_nearest(command: str, finished: Path) -> None:
    refused(invoked(command, "tinny", workspace=finished), "tinny", "did you mean 'tiny'?")


def test_a_workspace_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    # Below a file, because a user who is root may write into any folder.
    (tmp_path / "a_file").write_text("mine\n", encoding="utf-8")
    place = tmp_path / "a_file" / "workspace"
    refused(invoked("run", TINY, "--engine", "inline", workspace=place), str(place))
    assert contents(tmp_path) == {"a_file": b"mine\n"}


@pytest.mark.parametrize("command", [("run", str(TINY), "--engine", "inline"), ("report", "tiny")])
def test_a_workspace_of_a_newer_version_is_refused_and_kept(command: tuple[str, ...], copied: Path) -> None:
    with closing(sqlite3.connect(copied / "ledger.sqlite")) as ledger:
        ledger.execute("UPDATE schema_version SET version = version + 1")
        ledger.commit()
        before = list(ledger.iterdump())
    refused(invoked(*command, workspace=copied), "ledger.sqlite", "newer")
    with closing(sqlite3.connect(copied / "ledger.sqlite")) as ledger:
        assert list(ledger.iterdump()) == before


def test_a_file_that_is_no_ledger_is_refused_and_kept(workspace: Path) -> None:
    workspace.mkdir()
    (workspace / "ledger.sqlite").write_bytes(b"a shopping list, perhaps" * 100)
    before = contents(workspace)
    refused(invoked("run", TINY, "--engine", "inline", workspace=workspace), "ledger.sqlite")
    assert contents(workspace) == before


def test_a_study_that_changed_since_it_was_started_is_refused(study_file: StudyFile, copied: Path) -> None:
    before = invoked("results", "tiny", workspace=copied).out
    file = study_file(("steps: 80", "steps: 81"))
    refused(invoked("run", file, "--engine", "inline", workspace=copied), "tiny", "steps")
    assert invoked("results", "tiny", workspace=copied).out == before


def test_a_workspace_in_use_is_refused_and_the_run_goes_on(workspace: Path, tmp_path: Path) -> None:
    log = tmp_path / "first.log"
    first, _ = start("run", TINY, "--engine", "inline", workspace=workspace, cwd=tmp_path, log=log)
    try:
        until = time.monotonic() + 60
        while not (workspace / "tiny.lock").exists() or not (workspace / "tiny.lock").read_text():
            assert first.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        # Stopped, so that it holds the workspace for as long as the second one takes to look.
        first.send_signal(signal.SIGSTOP)
        second = invoked("run", TINY, "--engine", "inline", workspace=workspace)
        first.send_signal(signal.SIGCONT)
        refused(second, "tiny", "in use", f"pid {first.pid}")
        assert first.wait(timeout=200) == 0, log.read_text()
    finally:
        kill_group(first)
