"""Nothing calls home: a study ends where there is no network, and sends nothing where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blackbox.program import TINY, groundrules
from tests.surroundings import do_without

LOOPBACK_ONLY = 'ip link set lo up && exec "$@"'

# An interface into nothing that takes every packet for the outside, with a name server out there: what
# any library tries to send, lookups included, is counted on it.
DEAD_END = """
set -e
ip link set lo up
ip link add deadend type veth peer name wall
for name in deadend wall; do echo 1 > /proc/sys/net/ipv6/conf/$name/disable_ipv6; done
ip addr add 192.0.2.1/24 dev deadend
ip link set wall arp off up
ip link set deadend arp off up
ip route add default via 192.0.2.2 dev deadend onlink
echo 'nameserver 192.0.2.53' > "$RESOLVER"
mount --bind "$RESOLVER" /etc/resolv.conf
set +e
"$@"
code=$?
ip -s -j link show deadend > "$COUNTED"
exit $code
"""


def unshared(*flags: str) -> list[str]:
    """The words that start a command in namespaces of its own; skips with the reason where not allowed."""
    reason = None
    for name in ("unshare", "ip"):
        if shutil.which(name) is None:
            reason = f"{name} is not installed (on Debian: apt-get install util-linux iproute2)"
    if reason is None:
        probe = subprocess.run(
            ["unshare", *flags, "sh", "-c", "ip link set lo up"], capture_output=True, text=True, check=False
        )
        if probe.returncode != 0:
            reason = f"network namespaces are not permitted here: {probe.stderr.strip()}"
    if reason is not None:
        do_without("namespace", reason)
    return ["unshare", *flags]


def sent(file: Path) -> int:
    """Packets that went out on the dead end."""
    return int(json.loads(file.read_text(encoding="utf-8"))[0]["stats64"]["tx"]["packets"])


def test_a_study_runs_to_its_end_with_loopback_only(workspace: Path, tmp_path: Path) -> None:
    prefix = [*unshared("--net"), "sh", "-c", LOOPBACK_ONLY, "sh"]
    groundrules("run", TINY, "--workers", "2", workspace=workspace, cwd=tmp_path, prefix=prefix)
    assert (workspace / "reports").is_dir()
    assert "he_normal" in groundrules("export", "tiny", workspace=workspace, cwd=tmp_path).out


def test_a_study_sends_no_packet_out(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = [*unshared("--net", "--mount"), "bash", "-c", DEAD_END, "bash"]
    monkeypatch.setenv("RESOLVER", str(tmp_path / "resolv.conf"))

    counter = tmp_path / "control.json"
    monkeypatch.setenv("COUNTED", str(counter))
    lookup = "import socket\ntry: socket.getaddrinfo('example.org', 80)\nexcept OSError: pass"
    environ = os.environ | {"RES_OPTIONS": "timeout:1 attempts:1"}
    subprocess.run([*prefix, sys.executable, "-c", lookup], check=True, env=environ, timeout=60)
    assert sent(counter) > 0, "the dead end counts nothing, so the test below would prove nothing"

    counter = tmp_path / "study.json"
    monkeypatch.setenv("COUNTED", str(counter))
    groundrules("run", TINY, "--workers", "2", workspace=workspace, cwd=tmp_path, prefix=prefix)
    assert sent(counter) == 0
