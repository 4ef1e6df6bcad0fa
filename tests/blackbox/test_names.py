"""Folders and files that are called like packages of ours, or like libraries, are nobody's business."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from studies.ledger.ledger import Ledger
from tests.blackbox.program import PROGRAM, Ran, environment
from tests.rehearsal.client import Client
from tests.rehearsal.ray_nodes import RayNodes

ROOT = Path(__file__).parents[2]
OURS = ("search_spaces", "trainers", "reports", "studies")
LIBRARIES = ("yaml", "numpy", "torch", "optuna", "mlflow", "pandas", "logging", "tempfile")
STUDY = """
study: shadowed
title: Tiny
questions: [{factor: activation, levels: [relu, tanh]}]
regimes: {shallow: {depth: 1}}
setting: {width: 8, steps: 20, train_size: 200, evaluations: 4, batch_size: 16}
nuisance: [learning_rate]
tasks: [wine, breast_cancer]
budget: {profile: quick, families: 2, blocks: 1, trials: 3, promoted: 1, promote_seeds: 1, confirm_seeds: 1}
controls: false
"""


def package(folder: Path, name: str, text: str = "") -> None:
    """A package that is somebody else's."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text, encoding="utf-8")


def module(folder: Path, name: str, text: str = "") -> None:
    """The same as a single file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text, encoding="utf-8")


def call(*words: str | Path, cwd: Path, more: Mapping[str, str] | None = None) -> Ran:
    """Runs a command to its end, in an environment with some more in it."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment(**(more or {})), timeout=240, check=False,
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.parametrize("make", [package, module])
def test_a_study_runs_among_folders_and_files_of_our_names(tmp_path: Path, make: Callable[..., None]) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for name in OURS:
        make(here, name)
        make(elsewhere, name)
    for name in LIBRARIES:
        make(here, name, "raise RuntimeError('somebody else is imported')\n")
    (here / "study.yaml").write_text(STUDY, encoding="utf-8")
    began = time.monotonic()
    ran = call(PROGRAM, "run", "study.yaml", "--workers", "2", cwd=here, more={"PYTHONPATH": str(elsewhere)})
    seconds = time.monotonic() - began
    assert ran.code == 0, ran.said
    trained = re.search(r"trained (\d+); (\d+) of (\d+) members", ran.out)
    assert trained and len(set(trained.groups())) == 1 and int(trained[1]) >= 64, ran.said
    assert "failed" not in ran.said
    if os.getloadavg()[0] < 2 * len(os.sched_getaffinity(0)):  # where others work here, it may take longer
        assert seconds < 60


def test_a_worker_that_cannot_import_ours_ends_the_run_and_names_the_file(tmp_path: Path) -> None:
    package(tmp_path, "trainers")
    module(
        tmp_path, "sitecustomize", "import sys\nif 'default_worker' in str(sys.orig_argv): import trainers\n"
    )
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    ran = call(
        PROGRAM, "run", "study.yaml", "--workspace", "w", "--workers", "1", cwd=tmp_path,
        more={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    cause = (
        f"the worker could not start: ImportError: {tmp_path / 'trainers' / '__init__.py'} is in the way: "
    )
    assert ran.code == 1, ran.said
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith(f"error: 3 workers in a row failed; {cause}"), ran.said
    assert last.endswith("resume with the same command")
    with Ledger.open(tmp_path / "w") as ledger:
        attempts = ledger.attempts("shadowed")
    assert [one.kind for one in attempts] == ["error", "error"]  # the third ended the run
    assert all(one.cause.startswith(cause) for one in attempts), attempts


@pytest.mark.timeout(600)
def test_workers_and_jobs_on_nodes_with_packages_of_our_names(tmp_path: Path) -> None:
    shadows = tmp_path / "shadows"
    for name in OURS:
        package(shadows, name)
    (shadows / "study.yaml").write_text(STUDY, encoding="utf-8")
    nodes = RayNodes(tmp_path, workers=1, environment={"PYTHONPATH": str(shadows)})
    try:
        nodes.start()
        user = Client(
            tmp_path, "ada", site={"cluster": nodes.address}, secrets={"cluster_token_file": nodes.token}
        )
        there = tmp_path / "there"
        user.run("submit", shadows / "study.yaml", "--workspace-there", there)
        said = user.run("logs", "shadowed", "--follow", expect=None).said
        assert re.search(r"trained (\d+); \1 of \1 members", said), said
        more = {
            "PYTHONPATH": str(shadows),
            "RAY_AUTH_TOKEN": nodes.token,
            "RAY_ADDRESS": f"127.0.0.1:{nodes.port}",
        }
        ran = call(PROGRAM, "run", "study.yaml", "--cluster", "auto", cwd=shadows, more=more)
        assert ran.code == 0, ran.said
        assert re.search(r"trained (\d+); \1 of \1 members", ran.out), ran.said
    finally:
        nodes.stop()


@pytest.mark.parametrize("command", ["studies.cli", "groundrules"])
def test_python_m_takes_no_file_of_the_current_folder_for_a_library(tmp_path: Path, command: str) -> None:
    for name in ("search_spaces", "trainers", "reports"):  # `studies` itself is found by Python, not by us
        package(tmp_path, name)
    for name in LIBRARIES:
        module(tmp_path, name, "raise RuntimeError('somebody else is imported')\n")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    ran = call(sys.executable, "-m", command, "plan", "study.yaml", cwd=tmp_path)
    assert ran.code == 0, ran.said


def script(folder: Path, text: str) -> Ran:
    """A script of the user's, beside its own modules."""
    (folder / "script.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return call(sys.executable, folder / "script.py", cwd=folder)


def test_a_script_beside_modules_of_our_names_gets_ours(tmp_path: Path) -> None:
    package(tmp_path, "reports")
    module(tmp_path, "search_spaces")
    ran = script(
        tmp_path,
        "import studies; from reports.verdicts.verdict import verdicts\n"
        "print(studies.load('quickstart').study, verdicts)",
    )
    assert ran.code == 0, ran.said
    assert ran.out.startswith("quickstart <function verdicts")


def test_a_package_that_was_imported_before_ours_is_named_as_what_is_in_the_way(tmp_path: Path) -> None:
    package(tmp_path, "reports", "mine = 1\n")
    ran = script(
        tmp_path,
        """
        import reports
        import studies
        """,
    )
    last = ran.err.strip().splitlines()[-1]
    assert ran.code == 1
    assert last.startswith(
        f"ImportError: {tmp_path / 'reports' / '__init__.py'} is in the way: it is imported as"
    )


def test_a_script_that_needs_no_reports_keeps_its_own(tmp_path: Path) -> None:
    package(tmp_path, "reports", "mine = 1\n")
    ran = script(
        tmp_path,
        "import reports, trainers.tasks.task; print(reports.mine, trainers.tasks.task.Task.__name__)",
    )
    assert (ran.code, ran.out) == (0, "1 Task\n"), ran.said


def test_the_program_is_found_before_packages_on_the_path(tmp_path: Path) -> None:
    for name in OURS:
        package(tmp_path, name)
    ran = call(PROGRAM, "catalog", cwd=tmp_path, more={"PYTHONPATH": str(tmp_path)})
    assert ran.code == 0 and "he_normal" in ran.out, ran.said


def test_the_program_names_the_file_in_the_way_in_one_line(tmp_path: Path) -> None:
    package(tmp_path, "trainers")
    module(tmp_path, "usercustomize", "import trainers\n")  # which Python imports before any program
    module(tmp_path, "sitecustomize", "import trainers\n")
    ran = call(PROGRAM, "catalog", cwd=tmp_path, more={"PYTHONPATH": str(tmp_path)})
    assert ran.code == 2
    assert ran.err.startswith(f"error: {tmp_path / 'trainers' / '__init__.py'} is in the way")
    assert len(ran.err.splitlines()) == 1
