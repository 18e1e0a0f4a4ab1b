"""A headless Chromium with a window of any size, in light or dark."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

INSTALL = "apt-get install -y --no-install-recommends chromium chromium-driver"

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_DRAWN = "return document.documentElement.dataset.charts"


def missing() -> str | None:
    """Return the command that installs what a browser needs; None where it is there."""
    found = shutil.which("chromedriver") and any(map(shutil.which, _NAMES))
    return None if found else INSTALL


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a Chromium, and end it afterwards."""
    options = Options()
    options.binary_location = next(path for name in _NAMES if (path := shutil.which(name)))
    for switch in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """Opens pages, and tells what came of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, page: Path, width: int, scheme: str) -> None:
        """Open `page` in a window of `width` pixels and wait until its charts are drawn, or have failed."""
        phone = width < 600
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": phone}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self._driver.get(page.as_uri())
        WebDriverWait(self._driver, 60).until(lambda driver: driver.execute_script(_DRAWN))

    def run(self, script: str) -> Any:
        """Return what `script` returns on the page."""
        return self._driver.execute_script(script)

    def messages(self) -> list[str]:
        """Return what the page wrote to the console since it was last asked, refusals to load included."""
        return [entry["message"] for entry in self._log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that pages asked for since it was last asked."""
        entries = [entry["message"] for entry in self._log("performance")]
        return [part for entry in entries if "Network.requestWillBeSent" in entry for part in _urls(entry)]

    def _log(self, name: str) -> list[dict[str, str]]:
        entries: list[dict[str, str]] = self._driver.get_log(name)  # type: ignore[no-untyped-call]
        return entries

    def picture(self, file: Path) -> None:
        """Write the whole page, not only what the window shows, as a PNG."""
        shot = self._driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "fromSurface": True}
        )
        file.write_bytes(base64.b64decode(shot["data"]))


def _urls(entry: str) -> list[str]:
    message = json.loads(entry)["message"]
    return [message["params"]["request"]["url"]] if message["method"] == "Network.requestWillBeSent" else []
