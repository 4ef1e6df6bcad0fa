"""The temporary folder is everybody's: only what is proved to be ours is ever removed from it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.execution import scratch_folder
from studies.execution.scratch_folder import MARKER, PREFIX, new_folder, remove


def left(root: Path) -> Path:
    """The folder of a run that was killed."""
    folder, marker = new_folder(root)
    (folder / "r").mkdir()
    (folder / "r" / "log").write_text("x", encoding="utf-8")
    marker.close()  # as the kernel does
    return folder


def test_what_a_killed_run_has_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    held, marker = new_folder(tmp_path)
    dead = left(tmp_path)
    new, _ = new_folder(tmp_path)
    assert not dead.exists()
    assert (held / MARKER).exists() and new.exists()
    assert {folder.parent for folder in (held, dead, new)} == {tmp_path / f"{PREFIX}{os.getuid()}"}
    assert [oct(folder.stat().st_mode & 0o777) for folder in (new, new.parent)] == ["0o700", "0o700"]
    marker.close()


def test_the_folder_of_an_ended_run_goes_and_the_users_with_the_last(tmp_path: Path) -> None:
    first, second = new_folder(tmp_path), new_folder(tmp_path)
    remove(first[0])
    assert second[0].exists()
    remove(second[0])
    assert list(tmp_path.iterdir()) == []


def unlike(folder: Path) -> Path:
    """A folder with an empty file of the marker's name."""
    folder.mkdir(mode=0o700)
    (folder / MARKER).touch()
    (folder / "thesis.txt").write_text("three years", encoding="utf-8")
    return folder


def copied(folder: Path) -> Path:
    """A copy of a folder of ours, which somebody has made to look into it."""
    return Path(shutil.copytree(left(folder.parent.parent), folder, copy_function=shutil.copy2))


def moved(folder: Path) -> Path:
    return left(folder.parent.parent).rename(folder)


def opened(folder: Path) -> Path:
    """One that others can open: what is in it need not be ours."""
    own = left(folder.parent.parent)
    own.chmod(0o755)
    return own


def linked(folder: Path) -> Path:
    """A link to a folder outside, with a marker that it has been given."""
    outside = unlike(folder.parent.parent / "outside")
    folder.symlink_to(outside)
    return outside


def marker_elsewhere(folder: Path) -> Path:
    own = left(folder.parent.parent)
    (own / MARKER).rename(own.parent.parent / "marker")
    (own / MARKER).symlink_to(own.parent.parent / "marker")
    return own


@pytest.mark.parametrize("make", [unlike, copied, moved, opened, linked, marker_elsewhere])
def test_a_folder_that_is_not_proved_ours_stays(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    _, marker = new_folder(tmp_path)  # so that the user's folder is there
    user = tmp_path / f"{PREFIX}{os.getuid()}"
    place = make(user / "theirs")
    before = sorted(place.rglob("*"))
    assert before
    new_folder(tmp_path)[1].close()
    new_folder(tmp_path)[1].close()
    assert sorted(place.rglob("*")) == before
    marker.close()


def test_a_copy_put_in_the_place_of_a_folder_stays(tmp_path: Path) -> None:
    own = left(tmp_path)
    own.rename(tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", own)  # its path is right, and its marker says so
    new_folder(tmp_path)[1].close()
    assert (own / "r" / "log").exists()


def test_a_prefix_proves_nothing(tmp_path: Path) -> None:
    theirs = unlike(tmp_path / f"{PREFIX}x")
    new_folder(tmp_path)[1].close()
    assert (theirs / "thesis.txt").read_text(encoding="utf-8") == "three years"


@pytest.mark.parametrize("what", ["file", "link", "open"])
def test_something_else_of_the_users_folders_name_is_left_alone(tmp_path: Path, what: str) -> None:
    place, other = tmp_path / f"{PREFIX}{os.getuid()}", tmp_path / "other"
    other.mkdir(mode=0o700)
    match what:
        case "file":
            place.write_text("mine", encoding="utf-8")
        case "link":
            place.symlink_to(other)
        case "open":
            place.mkdir()
            place.chmod(0o777)
    folder, marker = new_folder(tmp_path)
    assert folder.parent not in (place, other)
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert list(other.iterdir()) == []
    marker.close()
    remove(folder)
    assert sorted(tmp_path.iterdir()) == sorted((place, other))


def test_a_temporary_folder_with_a_long_name_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = tmp_path / ("n" * 100), Path("/dev/shm")
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(scratch_folder, "PLACES", ("/nowhere", "", str(short)))
    folder, marker = new_folder()
    assert folder.parent.parent == short
    marker.close()
    remove(folder)
    monkeypatch.setattr(scratch_folder, "PLACES", ("/nowhere", ""))
    with pytest.raises(
        ValueError, match=rf"none of /nowhere, {long} is one: set TMPDIR to one with at most \d+"
    ):
        new_folder()
