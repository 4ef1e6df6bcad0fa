"""Attacks on the MLflow pages of `groundrules ui`: foreign hosts and origins, code in scorers, files."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studies.tracking.tracker import Tracker
from tests.blackbox.program import kill_group, start, survivors
from tests.security.attack import Attack, marker
from tests.security.calls import ask, free_port, listening, wait_for
from tests.security.stores import planted

HOSTS = ("evil.example", "evil.example:80", "10.1.2.3", "192.168.0.7:5000", "127.0.0.1.evil.example")
ORIGINS = ("http://evil.example", "https://evil.example", "null", "http://10.1.2.3")
SECRET = "the secret of the house"
UP = ("../../../../secret.txt", "..%2f..%2f..%2f..%2fsecret.txt", "%252e%252e/%252e%252e/secret.txt")


@contextmanager
def pages(folder: Path) -> Iterator[tuple[str, set[int]]]:
    """The address of `groundrules ui` on a small study, and the processes behind it."""
    workspace = planted(folder / "workspace")
    tracker = Tracker(workspace, "tiny")
    tracker.start()
    tracker.stop()
    assert not tracker.problem, tracker.problem
    port, log = free_port(), folder / "ui.log"
    process, mark = start("ui", "--port", str(port), workspace=workspace, cwd=folder, log=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}", set(survivors(mark, patience=0))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        finally:
            kill_group(process)


def talks_to_the_pages(folder: Path) -> str:
    with pages(folder) as (home, pids):
        said = [_from_elsewhere(home), _with_code(home, marker(folder)), _for_files(home, folder)]
        ports = listening(pids)
        assert {host for host, _ in ports} == {"127.0.0.1"}, ports
        assert len(ports) == 1, f"one port is enough: {ports}"
    return f"{'; '.join(said)}; one port, on loopback"


def _from_elsewhere(home: str) -> str:
    api, search = f"{home}/api/2.0/mlflow", {"max_results": 5}
    usual = ask(f"{api}/experiments/search", search)
    assert usual.code == 200, "it works for us"
    for host in HOSTS:
        assert ask(f"{api}/experiments/search", search, headers={"Host": host}).code == 403, host
        assert ask(f"{home}/", headers={"Host": host}).code == 403, host
    for origin in ORIGINS:
        answer = ask(f"{api}/experiments/create", {"name": "evil"}, headers={"Origin": origin})
        assert answer.code == 403, (origin, answer)
    assert usual.headers.get("x-frame-options") == "SAMEORIGIN", usual.headers
    assert usual.headers.get("access-control-allow-origin", "") != "*", usual.headers
    return f"{len(HOSTS)} foreign hosts and {len(ORIGINS)} origins: 403"


def _scorer(target: Path) -> dict[str, Any]:
    """MLflow's decorator scorers look like this: the source in them runs when one is made of them."""
    return {
        "name": "evil",
        "serialization_version": 1,
        "mlflow_version": "3.17.2",
        "call_source": f"import os; os.system('touch {target}')",
        "call_signature": "(outputs)",
        "original_func_name": "evil",
    }


def _with_code(home: str, target: Path) -> str:
    alone = _scorer(target)
    codes = set()
    for scorer in (alone, {"name": "e", "ensemble_scorer_data": {"scorers": [alone]}}):
        text = json.dumps(scorer)
        invoke = {"experiment_id": "0", "serialized_scorer": text, "trace_ids": ["tr-1"]}
        register = {"experiment_id": "0", "name": "evil", "serialized_scorer": text}
        job = {"job_name": "invoke_scorer", "params": invoke}
        for api in ("api", "ajax-api"):
            for place, body in (
                ("3.0/mlflow/scorer/invoke", invoke),
                ("3.0/mlflow/scorers/register", register),
                ("3.0/jobs", job),
                ("3.0/jobs/", job),
            ):
                answer = ask(f"{home}/{api}/{place}", body)
                assert answer.code >= 400, (place, answer)
                codes.add(answer.code)
    jobs = ask(f"{home}/ajax-api/3.0/jobs/search", {})
    assert jobs.code >= 400 or json.loads(jobs.text) == {"jobs": []}, jobs
    assert not target.exists(), "a scorer's code ran"
    return f"scorers with code and jobs: {', '.join(map(str, sorted(codes)))}"


def _for_files(home: str, folder: Path) -> str:
    secret = folder / "secret.txt"
    secret.write_text(SECRET, encoding="utf-8")
    api = f"{home}/api/2.0/mlflow"
    found = json.loads(ask(f"{api}/experiments/search", {"max_results": 100}).text)["experiments"]
    (experiment,) = [one["experiment_id"] for one in found if one["name"] == "tiny"]
    runs = ask(f"{api}/runs/search", {"experiment_ids": [experiment], "max_results": 1})
    run = json.loads(runs.text)["runs"][0]["info"]["run_id"]
    tried = 0
    for path in (*UP, str(secret), f"file://{secret}"):
        for place in (
            f"get-artifact?run_id={run}&path={path}",
            f"api/2.0/mlflow-artifacts/artifacts/{path}",
            f"ajax-api/2.0/mlflow/get-artifact?run_uuid={run}&path={path}",
            f"api/2.0/mlflow/artifacts/list?run_id={run}&path={path}",
        ):
            assert SECRET not in ask(f"{home}/{place}").text, place
            tried += 1
    ask(f"{api}/registered-models/create", {"name": "m"})
    ask(f"{api}/model-versions/create", {"name": "m", "source": f"file://{folder}", "run_id": run})
    read = ask(f"{home}/model-versions/get-artifact?name=m&version=1&path=secret.txt")
    assert SECRET not in read.text, read
    return f"{tried + 1} ways to a file beside the workspace: none"


ATTACKS = (
    Attack(
        name="foreign hosts, origins, scorers with code, files: the MLflow pages",
        points=(8, 12, 13),
        try_it=talks_to_the_pages,
    ),
)
