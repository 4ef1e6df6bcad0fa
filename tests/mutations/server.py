"""A process that has loaded the heavy libraries and nothing of ours, and forks a child for each run of tests.

Loading them takes longer than most tests do. One JSON object a line: `{"tests": [...], "first": bool,
"limit": seconds}` in, what became of the tests out.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.surroundings import SILENCE, THREADS

HEAVY = (
    *("numpy", "pandas", "scipy.stats", "scipy.optimize", "scipy.special", "scipy.linalg"),
    *("torch", "torchvision", "sklearn.datasets", "sklearn.model_selection", "optuna", "optuna.importance"),
    *("mlflow", "mlflow.tracking", "mlflow.entities", "sqlalchemy", "matplotlib.pyplot"),
    *("jinja2", "yaml", "pydantic", "typer", "rich.progress", "hypothesis", "psycopg", "pyarrow.parquet"),
    *("jsonschema", "fsspec"),
)
"""Loaded before the first fork; one that is not installed is left out. Ray is not among them: it wants
to know the cluster's token when it is loaded.
"""

OURS = ("search_spaces", "trainers", "reports", "studies")
MARK = "GROUNDRULES_MUTATION"
"""In the environment of a child, and so of all that it starts: to end what it leaves behind."""


class Recorder:
    """A pytest plugin: what became of each test."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}
        self.broken: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.setdefault(report.nodeid, _last_line(report))
        elif report.when == "call" and report.passed:
            self.passed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken[report.nodeid] = _last_line(report)


def _last_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The line of an error that names it: pytest marks such lines with E."""
    lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
    return (lines or report.longreprtext.splitlines() or [""])[0].removeprefix("E").strip()[:200]


def serve() -> None:
    """Answers requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    os.environ.update(SILENCE | THREADS | {"MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"})
    sys.dont_write_bytecode = True
    for name in json.loads(sys.argv[1]) if len(sys.argv) > 1 else HEAVY:
        with suppress(ImportError):
            importlib.import_module(name)
    assert not set(OURS) & set(sys.modules)
    gc.collect()
    gc.freeze()  # or the first collection of every child would copy all of these pages
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), file=answers, flush=True)


def _forked(request: dict[str, Any]) -> dict[str, Any]:
    """What became of the tests of one request, run in a child."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="gm-") as folder:
        answer, began = Path(folder) / "answer.json", time.monotonic()
        child = os.fork()
        if child == 0:
            _run(request, Path(folder), answer, mark)
        ended = _wait(child, float(request["limit"]))
        _end(child, mark)
        seconds = time.monotonic() - began
        if not ended:
            return {"state": "endless", "seconds": seconds}
        if not answer.is_file():
            return {"state": "died", "seconds": seconds}
        record: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return {"state": "ended", "seconds": seconds, **record}


def _run(request: dict[str, Any], folder: Path, answer: Path, mark: str) -> None:
    """The child: runs the tests, writes what became of them, and never returns."""
    os.setsid()
    os.environ[MARK] = mark
    with (folder / "output").open("wb") as output, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    recorder = Recorder()
    words = ["-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "t"), *(["-x"] * request["first"])]
    pytest.main([*words, *request["tests"]], plugins=[recorder])
    record = {"passed": recorder.passed, "failed": recorder.failed, "broken": recorder.broken}
    answer.write_text(json.dumps(record), encoding="utf-8")
    os._exit(0)


def _wait(child: int, limit: float) -> bool:
    """Whether the child ended within so many seconds."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    return False


def _end(child: int, mark: str) -> None:
    """Ends the child's group, and whatever else it started that still runs."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in environment.read_bytes():
                os.kill(int(environment.parent.name), signal.SIGKILL)


if __name__ == "__main__":
    serve()
