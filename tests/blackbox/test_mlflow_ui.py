"""The MLflow pages of a study, as a reader sees them in a browser: list, curves, report."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.program import groundrules, kill_group, start, survivors
from tests.browser import Browser

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def pages(finished: Path, tmp_path: Path) -> Iterator[str]:
    """The address of `groundrules ui` on the finished study, answering."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "ui.log"
    process, mark = start("ui", "--port", str(port), workspace=finished, cwd=tmp_path, log=log)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}", process, log)
        assert str(port) in log.read_text(), "the command must say where the pages are"
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    finally:
        kill_group(process)
    assert survivors(mark, patience=20) == [], "the server outlived the command"


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 90
    while True:
        try:
            _OPENER.open(f"{address}/health", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.3)


def ask(address: str, path: str, body: dict[str, Any]) -> Any:
    """What MLflow's own interface answers: only to learn the ids that page addresses are made of."""
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with _OPENER.open(request, timeout=60) as answer:
        return json.load(answer)


def test_the_study_its_curves_and_its_report_are_shown(
    pages: str, finished: Path, chromium: Browser, tmp_path: Path
) -> None:
    chromium.open(f"{pages}/#/experiments")
    chromium.wait_for("Time created")
    assert "tiny" in chromium.wait_for("tiny")
    chromium.screenshot(tmp_path / "experiments.png")

    (experiment,) = [
        e
        for e in ask(pages, "experiments/search", {"max_results": 100})["experiments"]
        if "tiny" in e["name"]
    ]
    runs = _all_runs(pages, experiment["experiment_id"])
    parent = {run["info"]["run_id"]: _tags(run).get("mlflow.parentRunId") for run in runs}
    (study,) = [run for run in parent if parent[run] is None]
    cells = {run for run in parent if parent[run] == study}
    members = [run for run in runs if parent[run["info"]["run_id"]] in cells]
    trained = groundrules("results", "tiny", "--format", "csv", workspace=finished, cwd=tmp_path).out
    assert len(members) == len(trained.splitlines()) - 1, "every row of the results is a run"
    assert len(parent) == 1 + len(cells) + len(members), "study, cells, members, and nothing beside them"

    curve = next(run for run in members if _tags(run)["groundrules.evidence"] == "true")
    home = f"{pages}/#/experiments/{experiment['experiment_id']}/runs"
    chromium.open(f"{home}/{curve['info']['run_id']}/model-metrics")
    chromium.wait_for("validation_loss")
    chromium.find("//*[name()='path' and contains(@class, 'js-line') and string-length(@d) > 20]")
    chromium.screenshot(tmp_path / "curves.png")

    chromium.open(f"{home}/{study}/artifacts/{_page(pages, study)}")
    chromium.enter_frame("//iframe[contains(@class, 'mlflow-html-iframe')]")
    report = chromium.wait_for("he_normal")
    assert "glorot_normal" in report
    chromium.leave_frame()
    chromium.screenshot(tmp_path / "report.png")


def _all_runs(address: str, experiment: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = []
    page: str | None = ""
    while page is not None:
        body = {"experiment_ids": [experiment], "max_results": 1000} | ({"page_token": page} if page else {})
        answer = ask(address, "runs/search", body)
        runs += answer.get("runs", [])
        page = answer.get("next_page_token")
    return runs


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


def _page(address: str, run: str, path: str = "") -> str:
    """Where the report lies among the run's artifacts."""
    query = f"run_id={run}" + (f"&path={path}" if path else "")
    with _OPENER.open(f"{address}/api/2.0/mlflow/artifacts/list?{query}", timeout=60) as answer:
        files = json.load(answer).get("files", [])
    for file in files:
        if file["path"].endswith("index.html"):
            return str(file["path"])
    for file in files:
        if file.get("is_dir"):
            return _page(address, run, file["path"])
    raise AssertionError(f"no index.html among the artifacts: {files}")
