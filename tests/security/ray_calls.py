"""Attacks on Ray: calls without its token, and a task file that looks around in a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.blackbox.program import MARK, groundrules, survivors
from tests.security.attack import Attack, marker
from tests.security.calls import ask, free_port, listening, wait_for
from tests.security.secrets_kept import variables
from tests.surroundings import SILENCE, THREADS

TOKEN = "a" * 64
STRANGERS: tuple[dict[str, str], ...] = (
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Bearer "},
    {"Authorization": f"Basic {TOKEN}"},
    {"X-Ray-Authorization": "Bearer wrong"},
    {"Cookie": "ray-authentication-token=wrong"},
    {"User-Agent": "Mozilla/5.0", "Origin": "http://evil.example"},
)
PLACES = (
    ("POST", "/api/jobs/"),
    ("GET", "/api/jobs/"),
    ("DELETE", "/api/jobs/evil"),
    ("POST", "/api/jobs/evil/stop"),
    ("GET", "/api/jobs/evil/logs"),
    ("GET", "/api/cluster_status"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/logical/actors"),
    ("GET", "/api/v0/actors"),
    ("GET", "/api/v0/logs/file?node_ip=127.0.0.1&filename=x"),
    ("PUT", "/api/packages/gcs/evil.zip"),
    ("PUT", "/api/serve/applications/"),
    ("GET", "/worker/traceback?pid=1&ip=127.0.0.1&native=0"),
)


@contextmanager
def ray_head(folder: Path, *, auth: str = "token") -> Iterator[tuple[str, str]]:
    """A small head with dashboard on loopback: its address, and the mark of its processes.

    Args:
        folder: its home, and where its token lies.
        auth: RAY_AUTH_MODE of the cluster: 'token', or 'disabled' for one that lets everybody in.
    """
    token, log, mark = folder / "token", folder / "head.log", os.urandom(8).hex()
    with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
        text.write(TOKEN)
    (folder / "ray_bootstrap_config.yaml").write_text("{}\n", encoding="utf-8")  # or it looks for a cloud
    usual = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {"RAY_AUTH_MODE": auth, "RAY_AUTH_TOKEN_PATH": str(token), "HOME": str(folder), MARK: mark}
    dashboard = free_port()
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus", "1"),
        *("--node-ip-address", "127.0.0.1", "--port", str(free_port()), "--disable-usage-stats"),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)),
        *("--object-store-memory", "100000000", "--ray-client-server-port", str(free_port())),
    ]
    with log.open("wb") as out:
        head = subprocess.Popen(
            command,
            env={**usual, **SILENCE, **THREADS, **own},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        wait_for(f"{address}/api/version", head, log, {"Authorization": f"Bearer {TOKEN}"})
        yield address, mark
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            for pid in survivors(mark, patience=0):
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
            if not survivors(mark, patience=10):
                break
        head.wait(timeout=30)


def calls_without_the_token(folder: Path) -> str:
    target = marker(folder)
    job = {"entrypoint": f"touch {target}", "submission_id": "evil"}
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    with ray_head(folder) as (address, mark):
        assert ask(f"{address}/api/jobs/", headers=allowed).code == 200, "it works with the token"
        for stranger in STRANGERS:
            for method, place in PLACES:
                body = None if method in ("GET", "DELETE") else job
                answer = ask(f"{address}{place}", body, method=method, headers=stranger)
                assert answer.code in (401, 403), (method, place, stranger, answer)
        time.sleep(1)
        assert not target.exists(), "a stranger's job ran"
        assert "evil" not in ask(f"{address}/api/jobs/", headers=allowed).text
        with_another = _driver(gcs_address(mark), folder, "b" * 64)
        assert with_another.returncode != 0, "a driver with another token got in"
        assert TOKEN not in with_another.stdout + with_another.stderr
        _wide = sorted({host for host, _ in listening(survivors(mark, patience=0))} - {"127.0.0.1"})
    return (
        f"{len(PLACES)} places x {len(STRANGERS)} strangers: 401 or 403; a driver with another token is "
        f"refused; listening beyond loopback: {', '.join(_wide) or 'nothing'}"
    )


def _driver(address: str, folder: Path, token: str) -> subprocess.CompletedProcess[str]:
    script = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(ray.nodes())"
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", script, address],
        env={**os.environ, **SILENCE, **own},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def gcs_address(mark: str) -> str:
    """The address of the head's GCS, from its command line."""
    for pid in survivors(mark, patience=0):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if words[0].endswith("gcs_server"):
            port = next(word.partition("=")[2] for word in words if word.startswith("--gcs_server_port="))
            return f"127.0.0.1:{port}"
    raise AssertionError("no gcs_server")


TASKS = """
import os
from pathlib import Path
import numpy as np
from trainers.tasks.task import Task

Path({folder!r}, f"seen-{{os.getpid()}}").write_text(repr(dict(os.environ)), encoding="utf-8")


def mine():
    x = np.random.default_rng(0).normal(size=(60, 2))
    return Task.from_arrays(x, np.arange(60) % 2, kind="classification", name="mine")


TASKS = [mine]
"""

STUDY = """
study: watched
questions: [{factor: initializer, levels: [he_normal, zeros]}]
regimes: {only: {depth: 1}}
setting: {width: 2, batch_size: 8, steps: 2, train_size: 20, evaluations: 1}
tasks: [mine]
budget: {families: 1, blocks: 1, trials: 1, promoted: 1, promote_seeds: 1, confirm_seeds: 1}
"""


def looks_around_in_a_worker(folder: Path) -> str:
    (folder / "tasks.py").write_text(TASKS.format(folder=str(folder)), encoding="utf-8")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    passwords = ("hunter-one-22", "hunter-two-22")
    words = ("run", "study.yaml", "--tasks-from", "tasks.py", "--workers", "1")
    python = os.environ.get("PYTHONPATH", "")
    with variables(
        GROUNDRULES_LEDGER_PASSWORD=passwords[0],
        GROUNDRULES_TRACKING_PASSWORD=passwords[1],
        PYTHONPATH=python,
    ):
        # 2: of so few updates no verdict comes, which is not what is looked at here.
        ran = groundrules(*words, workspace=folder / "workspace", cwd=folder, expect=2)
    seen = [file.read_text(encoding="utf-8") for file in folder.glob("seen-*")]
    workers = [text for text in seen if "RAY_RAYLET_PID" in text or "RAY_JOB_ID" in text]
    assert workers, f"no worker among {len(seen)} processes: {ran.said[-500:]}"
    for password in passwords:
        assert password not in ran.said
        assert not any(password in text for text in workers), "a worker has the passwords of the stores"
    return f"{len(workers)} of {len(seen)} processes were workers; none had the passwords of the stores"


ATTACKS = tuple(
    Attack(name=name, points=points, try_it=try_it)
    for name, points, try_it in (
        ("calls without the token: Ray's jobs, dashboard, GCS", (10,), calls_without_the_token),
        ("a task file that looks for passwords in a worker", (11,), looks_around_in_a_worker),
    )
)
