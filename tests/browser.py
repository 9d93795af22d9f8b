"""A headless Chromium, driven over its DevTools protocol, for tests of the manual.

``PAGE.open`` loads a file at a width, light or dark, without network; ``PAGE.value`` is what an
expression of JavaScript has as its value.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Page", "chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str | None:
    """The browser, where there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab of the browser."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.requested: list[str] = []
        """Addresses that were asked for since the last ``open``."""
        self.errors: list[str] = []
        """Uncaught exceptions since then."""
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")
        self.send("Network.emulateNetworkConditions", offline=True, latency=0,
                  downloadThroughput=0, uploadThroughput=0)  # fmt: skip

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            found = self._read()
            if found.get("id") == number:
                assert "error" not in found, f"{method}: {found['error']}"
                return dict(found["result"])

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._socket.recv())
        if found.get("method") == "Network.requestWillBeSent":
            self.requested.append(found["params"]["request"]["url"])
        if found.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(found["params"]["exceptionDetails"]))
        return found

    def open(self, path: Path | str, width: int = 1400, *, dark: bool = False, mark: str = "",
             height: int = 900) -> None:  # fmt: skip
        """Load a file; ``mark`` is what follows # in the address."""
        self.requested.clear()
        self.errors.clear()
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        # a change of the mark alone would not load the page again
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=Path(path).resolve().as_uri() + (f"#{mark}" if mark else ""))
        end = time.monotonic() + 30
        while self.value("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < end, f"{path} did not load"

    def value(self, expression: str) -> Any:
        """The value of an expression, which may be a promise."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True,
                          awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path: Path | str, *, whole: bool = True) -> None:
        """Write a picture of the page."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A tab; skips the test in one line where there is no browser or no websocket-client."""
    place = executable()
    if place is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    websocket = pytest.importorskip("websocket", reason="websocket-client is not installed")
    port = folder / "DevToolsActivePort"
    command = [place, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-dev-shm-usage", "--remote-debugging-port=0", "--hide-scrollbars",
               "--remote-allow-origins=*", f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            end = time.monotonic() + 60
            while not (port.exists() and len(port.read_text().split()) == 2):
                assert run.poll() is None, "the browser ended at once"
                assert time.monotonic() < end, "the browser did not start"
                time.sleep(0.05)
            with contextlib.closing(_socket(websocket, port.read_text().split()[0])) as socket:
                yield Page(socket)
        finally:
            run.terminate()


def _socket(websocket: Any, port: str) -> Any:
    """The connection to the first tab."""
    import urllib.request

    end = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            tabs = [tab for tab in json.loads(answer.read()) if tab["type"] == "page"]
        if tabs:
            return websocket.create_connection(tabs[0]["webSocketDebuggerUrl"], timeout=60)
        assert time.monotonic() < end, "the browser has no tab"
        time.sleep(0.05)
