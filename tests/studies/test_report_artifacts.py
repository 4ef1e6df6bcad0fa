"""A report's copy is the report: all of it, nothing else, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from studies.tracking.report_artifacts import replace_report


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A report with a folder in it."""
    pages = tmp_path / "pages"
    (pages / "figures").mkdir(parents=True)
    (pages / "index.html").write_text("<b>first</b>", encoding="utf-8")
    (pages / "figures" / "a b.svg").write_text("<svg/>", encoding="utf-8")
    return pages


@pytest.fixture(params=["file", "memory", "dir"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Places of three kinds; `dir` is the local disk by the way that object stores go."""
    if request.param == "memory":
        return f"memory://{tmp_path}/there/report"
    if request.param == "dir":
        return f"local://{tmp_path}/there/report"
    return (tmp_path / "there" / "report").as_uri()


def copied(address: str) -> dict[str, str]:
    store, root = fsspec.core.url_to_fs(address.replace("%20", " "))
    return {str(path).removeprefix(f"{root}/"): store.cat_file(path).decode() for path in store.find(root)}


def test_a_new_report_replaces_the_earlier_one_whole(pages: Path, address: str) -> None:
    replace_report(pages, address)
    assert copied(address) == {"index.html": "<b>first</b>", "figures/a b.svg": "<svg/>"}
    (pages / "index.html").write_text("second", encoding="utf-8")
    (pages / "figures" / "a b.svg").unlink()
    replace_report(pages, address)
    assert copied(address) == {"index.html": "second"}


def test_what_symlinks_point_to_is_not_copied(pages: Path, address: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private", encoding="utf-8")
    (pages / "one").symlink_to(secret / "key")
    (pages / "all").symlink_to(secret)
    replace_report(pages, address)
    assert copied(address) == {"index.html": "<b>first</b>", "figures/a b.svg": "<svg/>"}


@pytest.mark.parametrize("link", ["study", "study/run", "study/run/artifacts", "study/run/artifacts/report"])
def test_a_place_behind_a_symlink_is_refused(pages: Path, tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "report").mkdir(parents=True)
    (elsewhere / "report" / "index.html").write_text("mine", encoding="utf-8")
    place = tmp_path / "there" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is a symlink"):
        replace_report(pages, (tmp_path / "there" / "study/run/artifacts/report").as_uri())
    assert {file.name for file in elsewhere.rglob("*")} == {"report", "index.html"}
    assert (elsewhere / "report" / "index.html").read_text(encoding="utf-8") == "mine"
