"""A Ray cluster as an operator starts it: `ray start --head` with a token, and more raylets, on one machine.

Every port is a free one, so that several clusters fit on a machine. What was started is found again by a mark
in its environment, and only that is ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.blackbox.program import MARK
from tests.surroundings import of_this_machine

PATIENCE_SECONDS = 120.0
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RayNodes:
    """A head and workers, each with so many CPUs declared; `start` it, then `stop` it."""

    def __init__(
        self, folder: Path, *, workers: int = 2, cpus: int = 1, head_cpus: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Nothing is started yet.

        Args:
            folder: of the token and the home of whoever runs the nodes.
            workers: raylets besides the head.
            cpus: declared by each of them.
            head_cpus: declared by the head.
            environment: more variables for the nodes, as an operator sets them.
        """
        self.folder = folder
        self.token = uuid.uuid4().hex + uuid.uuid4().hex
        self.mark = uuid.uuid4().hex
        self.address = f"http://127.0.0.1:{free_port()}"
        self.home = folder / "operator"
        self._workers, self._cpus, self._head_cpus = workers, cpus, head_cpus
        self._more = dict(environment or {})
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._sessions = Path(tempfile.mkdtemp(prefix="gr-ray-", dir="/tmp"))  # a socket's path must be short
        self._gcs = free_port()

    @property
    def port(self) -> int:
        """Where drivers on this machine find the head."""
        return self._gcs

    @property
    def log(self) -> Path:
        """What `ray start` has said, of all nodes."""
        return self.folder / "ray.log"

    def start(self) -> RayNodes:
        """Starts head and workers, and waits until all have joined."""
        self.home.mkdir(parents=True, exist_ok=True)
        file = self.home / "token"
        file.touch(mode=0o600)
        file.write_text(self.token, encoding="utf-8")
        dashboard = self.address.rpartition(":")[2]
        self._node(
            *("--head", "--port", str(self._gcs), "--ray-client-server-port", str(free_port())),
            *("--dashboard-host", "127.0.0.1", "--dashboard-port", dashboard),
            "--disable-usage-stats",
            cpus=self._head_cpus,
        )
        self._wait_for(1)
        for _ in range(self._workers):
            self._node("--address", f"127.0.0.1:{self._gcs}", cpus=self._cpus)
        self._wait_for(1 + self._workers)
        return self

    def kill_worker(self) -> None:
        """kill -9 of the last raylet that joined, with all that it runs."""
        node = self._nodes.pop()
        _end([node.pid, *_descendants(node.pid)])
        node.wait(30)

    def stop(self) -> None:
        """Ends every process that was started, and whatever those have started."""
        for node in self._nodes:
            if node.poll() is None:
                node.terminate()
        until = time.monotonic() + 15
        while marked(self.mark) and time.monotonic() < until:
            time.sleep(0.1)
        for _ in range(3):  # what was being born at the first look
            _end(marked(self.mark))
        for node in self._nodes:
            node.wait(30)
        self._nodes.clear()
        shutil.rmtree(self._sessions, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """Of the nodes: an operator's, with the image's programs and none of ours."""
        programs = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        return {
            **of_this_machine(),
            "PATH": programs,
            "HOME": str(self.home),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.home / "token"),
            "RAY_raylet_start_wait_time_s": "120",  # on a busy machine 30 s are not enough
            MARK: self.mark,
            **self._more,
        }

    def _node(self, *words: str, cpus: int) -> None:
        ports = {
            name: str(free_port())
            for name in ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port")
        }
        ports |= {"metrics-export-port": str(free_port()), "min-worker-port": "0", "max-worker-port": "0"}
        options = [word for name, value in ports.items() for word in (f"--{name}", value)]
        # A folder for each node: in a common one, each would unpack a job's code over the other's.
        options += ["--temp-dir", str(self._sessions / str(len(self._nodes)))]
        with self.log.open("ab") as log:
            self._nodes.append(
                subprocess.Popen(
                    [
                        *(Path(sys.executable).with_name("ray"), "start", "--block"),
                        *("--node-ip-address", "127.0.0.1", "--num-cpus", str(cpus), "--num-gpus", "0"),
                        *("--object-store-memory", "100000000"),
                        *options,
                        *words,
                    ],
                    cwd=self.home,
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _wait_for(self, nodes: int) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while self.alive() < nodes:
            ended = [node for node in self._nodes if node.poll() is not None]
            if ended or time.monotonic() > until:
                said = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise RuntimeError(f"{self.alive()} of {nodes} nodes of the Ray cluster came up:\n{said}")
            time.sleep(0.2)

    def alive(self) -> int:
        """Nodes that the cluster counts as living; 0 while nothing answers."""
        try:
            answer = self.asked("/api/v0/nodes?limit=100", token=self.token)
        except OSError:
            return 0
        rows = json.loads(answer)["data"]["result"]["result"]
        return sum(row["state"] == "ALIVE" for row in rows)

    def asked(
        self, path: str, *, token: str = "", method: str = "GET", content: bytes | None = None
    ) -> bytes:
        """What the dashboard answers; urllib's HTTPError where it refuses."""
        request = urllib.request.Request(f"{self.address}{path}", data=content, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if content is not None:
            request.add_header("Content-Type", "application/json")
        with NO_PROXY.open(request, timeout=10) as answer:
            return bytes(answer.read())


@contextmanager
def ray_nodes(folder: Path, **options: object) -> Iterator[RayNodes]:
    """A cluster for as long as it is needed; its processes are gone afterwards, whatever happened."""
    nodes = RayNodes(folder, **options)  # type: ignore[arg-type]
    try:
        yield nodes.start()
    finally:
        nodes.stop()


def refusal(nodes: RayNodes, path: str, *, token: str = "", method: str = "GET") -> int:
    """The status with which a call is refused; 0 where it is served."""
    try:
        nodes.asked(path, token=token, method=method, content=b"{}" if method == "POST" else None)
    except urllib.error.HTTPError as error:
        return error.code
    return 0


def marked(mark: str) -> list[int]:
    """Pids whose environment carries the mark."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _end(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(file.read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(file.parent.name))
    found, look = [], [pid]
    while look:
        children = parents.get(look.pop(), [])
        found += children
        look += children
    return found
