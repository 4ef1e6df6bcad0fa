"""The site: rendered without a warning, with links that lead somewhere, and silent to every other server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import Browser
from tests.docs.pages import DOCS, PAGES, ROOT
from tests.surroundings import do_without

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "use": "href"}
"""Elements that a browser fetches by itself, and the attribute that says what."""


class Addresses(HTMLParser):
    """What a page loads, where it leads, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.led_to: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(given[LOADED[tag]])
        if tag == "a" and given.get("href"):
            self.led_to.append(given["href"])


def addresses(page: Path) -> Addresses:
    found = Addresses()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered site; a warning of MkDocs fails here, with all that it printed."""
    if find_spec("mkdocs") is None:
        do_without("docs", "mkdocs is not installed: pip install -e '.[dev,docs]'")
    folder = tmp_path_factory.mktemp("docs") / "site"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *("--config-file", "infra/mkdocs.yml", "--site-dir", str(folder)),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stderr
    return folder


def pages(site: Path) -> Iterator[Path]:
    yield from sorted(site.rglob("*.html"))


def test_every_page_is_rendered(site: Path) -> None:
    made = {page.relative_to(site).with_suffix(".md").as_posix() for page in pages(site)}
    assert set(PAGES) <= made
    generated = {
        "reference/commands.md",
        "reference/python.md",
        "reference/modules.md",
        "reference/levels.md",
    }
    assert generated <= made


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    known = {page: addresses(page) for page in pages(site)}
    broken, followed = [], 0
    for page, found in known.items():
        if page.name == "404.html":
            continue  # its links are absolute: it is shown at any address
        for address in (*found.loaded, *found.led_to):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            followed += 1
            if not target.is_file():
                broken.append(f"{page.relative_to(site)}: {address}")
            elif parts.fragment and target in known and parts.fragment not in known[target].anchors:
                broken.append(f"{page.relative_to(site)}: {address} (no such anchor)")
    assert followed > 1000
    assert broken == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in pages(site):
        loaded = addresses(page).loaded
        assert page.name == "404.html" or len(loaded) > 3
        assert [address for address in loaded if urlsplit(address).netloc] == [], page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(\s*[\"']?|@import\s+[\"'])(?:https?:)?//", text) == [], sheet


class Silent(SimpleHTTPRequestHandler):
    """Serves a folder, and writes no log."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_browser_asks_no_other_server_for_anything(site: Path, chromium: Browser) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/"
        chromium.open(f"{here}index.html")
        asked = chromium.script("return performance.getEntriesByType('resource').map(e => e.name)")
        heading = chromium.script("return document.querySelector('h1').textContent")
        server.shutdown()
    assert "Groundrules" in heading
    assert len(asked) > 2
    assert [address for address in asked if not address.startswith(here)] == []


def test_the_navigation_names_every_page() -> None:
    listed = set(
        re.findall(r": ([\w/-]+\.md)$", (ROOT / "infra/mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    )
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} <= listed
