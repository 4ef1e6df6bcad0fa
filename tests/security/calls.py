"""Calls to servers as a stranger makes them, and on which addresses processes listen."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
"""127.0.0.1, ::1 and ::ffff:127.0.0.1, as /proc/net spells them."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server answered."""

    code: int
    text: str
    headers: Mapping[str, str]


def ask(
    address: str, body: Any = None, *, method: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """One call; whatever the code, it is an answer."""
    data = None if body is None else json.dumps(body).encode()
    said = {"Content-Type": "application/json", **(headers or {})}
    how = method or ("GET" if body is None else "POST")
    request = urllib.request.Request(address, data, said, method=how)
    try:
        answer = _OPENER.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read(20_000).decode(errors="replace")
        return Answer(
            code=answer.status, text=text, headers={k.lower(): v for k, v in answer.headers.items()}
        )


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(
    address: str, process: subprocess.Popen[bytes], log: Path, headers: Mapping[str, str] | None = None
) -> None:
    """Until the server answers with anything but 5xx; AssertionError with its log where it does not."""
    until = time.monotonic() + 120
    while True:
        try:
            if ask(address, headers=headers).code < 500:
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < until, log.read_text(errors="replace")[-3000:]
        time.sleep(0.3)


def listening(pids: Collection[int]) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which one of these processes listens, from /proc."""
    sockets = {inode for pid in pids for inode in _sockets(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in sockets:
                host, port = words[1].split(":")
                found.add(("127.0.0.1" if host in LOOPBACK else host, int(port, 16)))
    return found


def _sockets(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
