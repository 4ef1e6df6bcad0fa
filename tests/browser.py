"""A headless Chromium for tests of pages, driven over the WebDriver protocol with the standard library."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1400,1100",
)

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which the protocol hands out elements (W3C WebDriver, section 12.2)."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def missing_browser() -> str | None:
    """Why no browser can be driven here; None where one can."""
    for name in ("chromium", "chromedriver"):
        if shutil.which(name) is None:
            return f"{name} is not installed (on Debian: apt-get install chromium chromium-driver)"
    return None


class Browser:
    """One tab. Every question waits for its answer to become true, up to `patience` seconds."""

    def __init__(self, session_url: str, patience: float = 60) -> None:
        self._session = session_url
        self._patience = patience

    def open(self, url: str) -> None:
        """Load `url` afresh, even where only the part after its # differs from the page that is open.

        Waits for the load event; pages that draw themselves later need `wait_for`.
        """
        _call("POST", f"{self._session}/url", {"url": "about:blank"})
        _call("POST", f"{self._session}/url", {"url": url})

    def script(self, source: str, *arguments: Any) -> Any:
        """The value that a function body returns in the page (and frame) that is open."""
        return _call("POST", f"{self._session}/execute/sync", {"script": source, "args": list(arguments)})

    def resize(self, width: int, height: int) -> None:
        """From the next page on the tab is so wide and high, in CSS pixels; windows stop at about 500."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        _call("POST", f"{self._session}/goog/cdp/execute", command)

    def text(self) -> str:
        """What a reader sees: the rendered text of the body."""
        return str(self.script("return document.body ? document.body.innerText : ''"))

    def dom(self) -> str:
        """The page as it stands after its scripts have run."""
        return str(self.script("return document.documentElement.outerHTML"))

    def wait_for(self, words: str) -> str:
        """The rendered text once it contains `words`; AssertionError with what it says instead."""
        until = time.monotonic() + self._patience
        seen = self.text()
        while words not in seen:
            assert time.monotonic() < until, f"the page never said '{words}'; it says:\n{seen[:4000]}"
            time.sleep(0.3)
            seen = self.text()
        return seen

    def find(self, xpath: str) -> dict[str, str]:
        """The first element at `xpath`, waiting until there is one; AssertionError if there never is."""
        until = time.monotonic() + self._patience
        while True:
            found = _call("POST", f"{self._session}/elements", {"using": "xpath", "value": xpath})
            if found:
                return {ELEMENT: found[0][ELEMENT]}
            assert time.monotonic() < until, f"nothing at {xpath}; the page says:\n{self.text()[:4000]}"
            time.sleep(0.3)

    def click(self, xpath: str) -> None:
        """Click the first element at `xpath`, waiting until there is one."""
        self.script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", self.find(xpath))

    def enter_frame(self, xpath: str) -> None:
        """Ask the page inside an iframe from now on."""
        _call("POST", f"{self._session}/frame", {"id": self.find(xpath)})

    def leave_frame(self) -> None:
        """Ask the outermost page again."""
        _call("POST", f"{self._session}/frame", {"id": None})

    def screenshot(self, path: Path) -> Path:
        """Keep a picture of the tab as a PNG file."""
        path.write_bytes(base64.b64decode(_call("GET", f"{self._session}/screenshot")))
        return path

    def complaints(self) -> list[str]:
        """Messages of level SEVERE in the console since the last call: failed scripts and requests."""
        entries = _call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with the empty folder `profile` as its user data; closed on leaving."""
    log = profile.with_suffix(".chromedriver.log")
    with log.open("wb") as out:
        # Port 0: the driver takes a free one and says which in its first lines.
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=out, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{_port(log, driver)}"
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "SEVERE"}}
        made = _call("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
        session = f"{address}/session/{made['sessionId']}"
        try:
            yield Browser(session)
        finally:
            _call("DELETE", session)
    finally:
        driver.terminate()
        driver.wait(timeout=20)


def _port(log: Path, driver: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + 30
    while time.monotonic() < until and driver.poll() is None:
        said = log.read_text(encoding="utf-8", errors="replace")
        if " on port " in said and "successfully" in said:
            return int(said.split("successfully on port ")[1].split(".")[0])
        time.sleep(0.1)
    raise AssertionError(f"chromedriver did not start: {log.read_text(encoding='utf-8', errors='replace')}")


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else (b"{}" if method == "POST" else None)
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with _OPENER.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.read().decode(errors='replace')[:2000]}") from None
