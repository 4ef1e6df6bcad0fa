"""A file is replaced whole or not at all, and never through a symbolic link that is not the user's."""

from __future__ import annotations

import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from trainers.atomic_files import (
    PART,
    DiskFull,
    LinkInTheWay,
    appending,
    create,
    own_folder,
    replacing,
    save,
    set_aside,
    take_in,
    write,
)

WRITERS = {"ours": write, "the user's": save}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("who", list(WRITERS))
def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path, who: str) -> None:
    before = os.umask(0o027)
    try:
        WRITERS[who](tmp_path / "a", "text\r\n€")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == "text\r\n€".encode()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o755])
@pytest.mark.parametrize("who", list(WRITERS))
def test_one_that_is_replaced_keeps_its_permissions(tmp_path: Path, who: str, mode: int) -> None:
    file = tmp_path / "a"
    file.write_text("old", encoding="utf-8")
    file.chmod(mode)
    WRITERS[who](file, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", mode)


def test_a_file_that_may_not_be_written_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_text("old", encoding="utf-8")
    file.chmod(0o444)
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, how: how != os.W_OK and allowed(path, how)
    )  # as for others than root
    with pytest.raises(PermissionError):
        save(file, "new")
    assert file.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("there", [True, False])
def test_nothing_of_ours_is_written_through_a_link(tmp_path: Path, there: bool) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    if there:
        victim.write_text("mine", encoding="utf-8")
    link.symlink_to(victim)
    made = tmp_path / "made"
    made.write_text("made", encoding="utf-8")
    for attempt in (
        lambda: write(link, "x"),
        lambda: take_in(made, link),
        lambda: set_aside(link, "damaged"),
        lambda: replacing(link).__enter__(),
        lambda: appending(link).__enter__(),
        lambda: own_folder(tmp_path, "link"),
    ):
        with pytest.raises(LinkInTheWay, match="link is a symbolic link"):
            attempt()
    with pytest.raises(FileExistsError):
        create(link, "x")
    assert victim.exists() == there and link.is_symlink()
    assert not there or victim.read_text(encoding="utf-8") == "mine"


def test_a_link_planted_where_the_part_could_lie_is_not_written_through(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "a"
    victim.write_text("mine", encoding="utf-8")
    guesses = [f".a.{number:08x}{PART}" for number in range(3)]
    for guess in guesses:
        (tmp_path / guess).symlink_to(victim)
    tokens = iter(["00000000", "00000001", "00000002", "0000000a"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda _: next(tokens))
        write(file, "new")
    assert file.read_text(encoding="utf-8") == "new"
    assert victim.read_text(encoding="utf-8") == "mine"


def test_a_hard_link_elsewhere_keeps_the_old_content(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "a"
    victim.write_text("mine", encoding="utf-8")
    os.link(victim, file)
    write(file, "new")
    assert victim.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("who", list(WRITERS))
def test_no_room_leaves_the_old_file_and_nothing_else(tmp_path: Path, who: str) -> None:
    """As on a full disk: the process may write no file of more than 1,000 bytes."""
    file = tmp_path / "a"
    file.write_text("old", encoding="utf-8")
    held = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, held[1]))
    try:
        with pytest.raises(DiskFull, match=r"no room for .*/a \(.*\); what was there before is as it was"):
            WRITERS[who](file, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, held)
    assert names(tmp_path) == ["a"]
    assert file.read_text(encoding="utf-8") == "old"


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a", "old")

    def interrupted() -> None:
        with replacing(tmp_path / "a") as part:
            part.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


def write_for_ever(file: Path) -> None:
    for number in range(1_000_000):
        write(file, f"{number % 10}" * 2_000_000)


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "a"
    write(file, "0" * 2_000_000)
    writer = get_context("fork").Process(target=write_for_ever, args=(file,))
    writer.start()
    time.sleep(random.Random(seed).uniform(0.05, 0.4))
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(20)
    text = file.read_text(encoding="utf-8")
    assert len(text) == 2_000_000 and len(set(text)) == 1
    write(file, "after")
    assert names(tmp_path) == ["a"], "what the killed writer has left goes with the next writing"


def test_what_another_process_is_writing_is_not_swept_away(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as part:
        place = repr(str(tmp_path / "a"))
        code = f"from pathlib import Path; from trainers.atomic_files import write; write(Path({place}), 'b')"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert part.exists()
        part.write_text("mine", encoding="utf-8")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "mine"


def test_files_of_others_with_a_like_name_stay(tmp_path: Path) -> None:
    others = [".a.tmp", ".a.part", f".b.12345678{PART}", f".a.12345678{PART}.txt", f".a.x{PART}"]
    for name in others:
        (tmp_path / name).write_text("theirs", encoding="utf-8")
    write(tmp_path / "a", "new")
    assert names(tmp_path) == sorted([*others, "a"])


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127):
        write(tmp_path / name, "text")
        write(tmp_path / name, "again")
        assert (tmp_path / name).read_text(encoding="utf-8") == "again"


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    save(pipe, "text")
    reader.join(20)
    assert heard == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_the_descriptor_behind_dev_stdout_is_written_into(tmp_path: Path, name: str, mode: str) -> None:
    """Redirected to a file, with what stood there before and what is printed around it."""
    out = tmp_path / "out"
    out.write_text("before\n", encoding="utf-8")
    inode = out.stat().st_ino
    code = (
        "from pathlib import Path; from trainers.atomic_files import save; print('first');"
        f" save(Path({name!r}), 'text\\n'); print('last')"
    )
    with out.open(mode) as redirected:
        subprocess.run([sys.executable, "-c", code], stdout=redirected, check=True)
    kept = "before\n" if mode == "ab" else ""
    assert out.read_text(encoding="utf-8") == f"{kept}first\ntext\nlast\n"
    assert (out.stat().st_ino, names(tmp_path)) == (inode, ["out"])


def test_a_full_device_is_said_to_be_full() -> None:
    with pytest.raises(DiskFull, match="/dev/full"):
        save(Path("/dev/full"), "text")
    save(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_a_file_that_is_to_be_new_is_not_replaced(tmp_path: Path) -> None:
    create(tmp_path / "a", "first")
    with pytest.raises(FileExistsError):
        create(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "first"
    assert names(tmp_path) == ["a"]


def test_a_file_system_without_hard_links_does_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    create(tmp_path / "a", "first")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "first"
    with pytest.raises(FileExistsError):
        create(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "first"


def test_what_is_set_aside_takes_its_journal_along_and_no_place_that_is_taken(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "a.db").write_text(f"{number}", encoding="utf-8")
        (tmp_path / "a.db-journal").write_text(f"journal {number}", encoding="utf-8")
        assert set_aside(tmp_path / "a.db", "damaged").name == f"a.db.damaged-{number}"
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in names(tmp_path)} == {
        "a.db.damaged-1": "1",
        "a.db.damaged-1-journal": "journal 1",
        "a.db.damaged-2": "2",
        "a.db.damaged-2-journal": "journal 2",
    }
