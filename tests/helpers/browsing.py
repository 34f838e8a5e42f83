"""A headless Chromium that tells what a page asked for, said and threw.

May touch: starts Chromium and its driver, whose profile is a folder that it is given.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
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
    "--hide-scrollbars",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")

LIGHT, DARK = "light", "dark"


def browser_programs() -> tuple[str, str] | None:
    """The browser and its driver; None where one of them is not on this machine."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    return (found, driver) if found and driver else None


class Browser:
    """One window, of any size and scheme. Use it as a context manager."""

    def __init__(self, program: str, driver: str, profile: Path) -> None:
        from selenium import webdriver  # a third of a second, and few tests look at pages
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = program
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def look(self, width: int = 1280, height: int = 900, scheme: str = LIGHT) -> None:
        """A window of so many pixels, whose person likes it light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._tell("Emulation.setDeviceMetricsOverride", size)
        self._media("screen", scheme)

    def print_preview(self) -> None:
        """The page as it is on paper, until `look` is called again."""
        self._media("print", LIGHT)

    def _media(self, media: str, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._tell("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def _tell(self, command: str, parameters: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(command, parameters)

    def open(self, path: Path) -> None:
        """Load a page anew; what was said before is forgotten."""
        self.visit(path.as_uri())

    def visit(self, address: str) -> None:
        """As `open`, of a page that a server has."""
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)  # type: ignore[no-untyped-call]
        self.driver.get(address)

    def said(self) -> list[str]:
        """What came on the console since the page was opened or this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def asked_for(self) -> list[str]:
        """The addresses that were asked for since, in order."""
        return list(self._asked_for())

    def _asked_for(self) -> Iterator[str]:
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                yield message["params"]["request"]["url"]

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function of this body returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        """Press keys, one after another, where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def violations(
        self, axe_core: str, impacts: Sequence[str] = ("serious", "critical")
    ) -> list[str]:
        """What axe-core finds of these kinds, a line each."""
        found = self.driver.execute_async_script(
            f"{axe_core}; const done = arguments[arguments.length - 1];"
            "axe.run(document, {resultTypes: ['violations']}).then(done);"
        )
        return [
            f"{each['id']} ({each['impact']}): {node['html']} {node.get('failureSummary', '')}"
            for each in found["violations"]
            if each["impact"] in impacts
            for node in each["nodes"]
        ]


# As the WebDriver protocol has them.
TAB, END, HOME = "\ue004", "\ue010", "\ue011"
ENTER, SHIFT, ESCAPE = "\ue007", "\ue008", "\ue00c"
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"
