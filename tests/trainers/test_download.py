"""A task's file comes from wherever it lies, once per node, and only with the content that was meant."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec  # type: ignore[import-untyped,unused-ignore]
import pytest

from trainers.tasks.download import fetched
from trainers.tasks.user_tasks import load_user_tasks

ROOT = Path(__file__).parents[2]
TABLE = "a,b,label\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(60))
CONTENT = TABLE.encode()
HASH = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A node's cache, empty."""
    return tmp_path / "cache"


@pytest.fixture
def stored() -> Iterator[str]:
    """The address of the table in a store."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/team/churn.csv", CONTENT)
    yield "memory://team/churn.csv"
    store.rm("/team", recursive=True)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The table on a shared path."""
    file = tmp_path / "shared" / "churn.csv"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    return file


class _Served:
    """The table over http, with a count of how often its content was sent."""

    def __init__(self) -> None:
        self.sent = 0
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.split("?")[0] == "/churn.csv"
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(CONTENT) if found else 0))
                self.end_headers()
                if found:
                    served.sent += 1
                    self.wfile.write(CONTENT)

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/churn.csv"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def served() -> Iterator[_Served]:
    """A server of one file."""
    found = _Served()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_file_of_a_store_is_kept_under_its_own_name(stored: str, cache: Path) -> None:
    file = fetched(stored, sha256=HASH, cache=cache)
    assert file == cache / HASH / "churn.csv"
    assert file.read_bytes() == CONTENT


def test_what_is_there_is_not_fetched_again(stored: str, cache: Path) -> None:
    file = fetched(stored, sha256=HASH.upper(), cache=cache)
    fsspec.filesystem("memory").pipe_file("/team/churn.csv", b"something else")
    assert fetched(stored, sha256=HASH, cache=cache) == file
    assert file.read_bytes() == CONTENT


def test_a_damaged_copy_is_fetched_again(stored: str, cache: Path) -> None:
    file = fetched(stored, sha256=HASH, cache=cache)
    file.write_bytes(CONTENT[:-1])
    assert fetched(stored, sha256=HASH, cache=cache).read_bytes() == CONTENT


def test_other_content_is_refused_by_name_and_leaves_nothing(stored: str, cache: Path) -> None:
    with pytest.raises(ValueError, match=f"{stored} has other content .* {HASH}, expected {OTHER}"):
        fetched(stored, sha256=OTHER, cache=cache)
    assert [file.name for file in (cache / OTHER).iterdir()] == [".lock"]


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_shared_path_with_a_hash_is_read_once_per_node(form: str, shared: Path, cache: Path) -> None:
    address = form.format(shared)
    file = fetched(address, sha256=HASH, cache=cache)
    assert file.read_bytes() == CONTENT
    with pytest.raises(ValueError, match="has other content"):
        fetched(address, sha256=OTHER, cache=cache)
    assert fetched(address, cache=cache) == shared


@pytest.mark.parametrize(
    ("address", "given", "rule"),
    [
        ("s3://team/churn.csv", "", "give its sha256"),
        ("https://example.org/churn.csv", "", "give its sha256"),
        ("s3://team/churn.csv", "abc", "64 hexadecimal digits"),
        ("ftp://example.org/churn.csv", HASH, "unknown kind of address 'ftp'"),
        ("github://who:what@/churn.csv", HASH, "unknown kind of address 'github'"),
        ("simplecache::s3://team/churn.csv", HASH, "chained addresses"),
        ("s3://me:hunter2@team/churn.csv", HASH, "a secret stands in the address"),
        ("memory://team/none.csv", HASH, "there is nothing at this address"),
        ("/no/such/file.csv", HASH, "no such file"),
        ("/no/such/file.csv", "", "no such file"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_line_without_secrets(
    address: str, given: str, rule: str, cache: Path
) -> None:
    with pytest.raises(ValueError, match=rule) as refused:
        fetched(address, sha256=given, cache=cache)
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_signed_address_is_not_shown(served: _Served, cache: Path) -> None:
    with pytest.raises(ValueError, match=r"churn\.csv has other content") as refused:
        fetched(f"{served.address}?signature=hunter2", sha256=OTHER, cache=cache)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["..%2F..%2Fevil.sh", "a b$(x).csv", ".hidden", "%00"])
def test_no_name_leads_out_of_the_cache(name: str, cache: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file(f"/team/{name}", CONTENT)
    file = fetched(f"memory://team/{name}", sha256=HASH, cache=cache)
    assert file.parent == cache / HASH
    assert not file.name.startswith(".")
    store.rm("/team", recursive=True)


def test_processes_that_ask_at_once_fetch_once(served: _Served, cache: Path) -> None:
    code = (
        "import sys; from trainers.tasks.download import fetched; "
        "print(fetched(sys.argv[1], sha256=sys.argv[2], cache=sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, served.address, HASH, str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=cache.parent)
        for _ in range(4)
    ]
    paths = {process.communicate(timeout=120)[0].strip() for process in asked}
    assert paths == {str(cache / HASH / "churn.csv")}
    assert served.sent == 1


def test_a_copy_that_was_killed_half_way_is_taken_up(stored: str, cache: Path) -> None:
    (cache / HASH).mkdir(parents=True)
    (cache / HASH / ".999999.part").write_bytes(CONTENT[:10])
    (cache / HASH / ".mine.part").write_text("not ours", encoding="utf-8")
    file = fetched(stored, sha256=HASH, cache=cache)
    assert sorted(found.name for found in file.parent.iterdir()) == [".lock", ".mine.part", "churn.csv"]


@pytest.mark.parametrize("name", ["", ".lock", "churn.csv"])
def test_nothing_in_the_cache_is_written_through_a_link(
    stored: str, cache: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    if name:
        (cache / HASH).mkdir(parents=True)
        victim.write_text("mine", encoding="utf-8")
    else:
        cache.mkdir(exist_ok=True)
        victim.mkdir()
    link = cache / HASH / name if name else cache / HASH
    link.symlink_to(victim)
    with pytest.raises(ValueError, match="is a symbolic link"):
        fetched(stored, sha256=HASH, cache=cache)
    assert list(victim.iterdir()) == [] if not name else victim.read_text(encoding="utf-8") == "mine"


def test_a_task_file_names_its_data_by_address(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDRULES_DATA", str(tmp_path / "data"))
    tasks = tmp_path / "tasks.py"
    text = f"""
from trainers.tasks.download import fetched
from trainers.tasks.task import Task


def churn():
    file = fetched("file://{shared}", sha256="{HASH}")
    return Task.from_csv(file, target="label", kind="classification")


TASKS = [churn]
"""
    tasks.write_text(text, encoding="utf-8")
    (task,) = (build() for build in load_user_tasks(tasks).values())
    assert (task.name, len(task.y)) == ("churn", 60)
    assert (tmp_path / "data" / "fetched" / HASH / "churn.csv").is_file()
    tasks.write_text(text.replace(HASH, OTHER), encoding="utf-8")
    with pytest.raises(ValueError, match=f"has other content than expected: its sha256 is {HASH}"):
        load_user_tasks(tasks)
