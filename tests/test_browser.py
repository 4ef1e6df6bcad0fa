"""The browser of the tests shows what scripts draw, and says what a page does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import Browser


def test_it_sees_what_a_script_drew_and_looks_into_frames(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<body><p id=a></p><iframe sandbox srcdoc='<p>inside</p>'></iframe>"
        "<script>setTimeout(() => { document.getElementById('a').innerText = 'drawn late' }, 300)</script>",
        encoding="utf-8",
    )
    chromium.open(page.as_uri())
    assert "inside" not in chromium.wait_for("drawn late")
    chromium.enter_frame("//iframe")
    assert chromium.wait_for("inside") == "inside"
    chromium.leave_frame()
    assert chromium.screenshot(tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_it_says_what_a_page_complains_of(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>nobody.defined.this()</script>", encoding="utf-8")
    chromium.open(page.as_uri())
    (complaint,) = chromium.complaints()
    assert "nobody is not defined" in complaint


def test_words_that_never_come_are_an_error(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>something else</p>", encoding="utf-8")
    chromium.open(page.as_uri())
    hasty = Browser(chromium._session, patience=0.5)
    with pytest.raises(AssertionError, match="something else"):
        hasty.wait_for("these words")
