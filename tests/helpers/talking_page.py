"""The server's page in a browser, as a person uses it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.helpers.browsing import ENTER, LIGHT, Browser
from tests.helpers.page_server import PageServer

WAIT = 30.0
"""Seconds until what a test waits for has surely not come."""


class TalkingPage:
    """A page of a server; `tolerated` are words of messages on the console that a test expects."""

    def __init__(self, browser: Browser, server: PageServer) -> None:
        self.browser = browser
        self.server = server
        self.tolerated: list[str] = []

    def open(self, width: int = 1280, scheme: str = LIGHT, fragment: str = "") -> None:
        """Load the page, and wait until it knows its trio."""
        self.browser.look(width, scheme=scheme)
        self.browser.visit(self.server.address + fragment)
        self.until(self.knows_its_trio)

    def reload(self) -> None:
        self.browser.driver.refresh()
        self.until(self.knows_its_trio)

    def knows_its_trio(self) -> bool:
        name: str = self.server.about["trio"]
        return self.text("h1") == name

    def until(self, holds: Callable[[], Any]) -> None:
        end = time.monotonic() + WAIT
        while not holds():
            assert time.monotonic() < end, self.run("return document.body.innerText")
            time.sleep(0.02)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.run(script, *arguments)

    def type(self, text: str) -> None:
        self.browser.driver.find_element("id", "draft").send_keys(text)

    def ask(self, text: str) -> None:
        """Send a message with Enter, and wait for the whole reply."""
        before = len(self.server.asked)
        self.type(text + ENTER)
        self.until(lambda: len(self.server.asked) > before)
        self.wait()

    def wait(self) -> None:
        """Wait until nothing is under way."""
        self.until(lambda: not self.is_shown("#stop"))

    def click(self, name: str) -> None:
        """Click the last button that is called this and can be seen."""
        buttons = self.browser.driver.find_elements("xpath", f"//button[.='{name}']")
        [*_, button] = [each for each in buttons if each.is_displayed()]
        button.click()

    def click_on(self, selector: str, place: int = 0) -> None:
        self.browser.driver.find_elements("css selector", selector)[place].click()

    def text(self, selector: str) -> str:
        found: str = self.run("return document.querySelector(arguments[0]).textContent", selector)
        return found

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)",
            selector,
        )
        return found

    def is_shown(self, selector: str) -> bool:
        found: bool = self.run(
            "return Boolean(document.querySelector(arguments[0])?.checkVisibility())", selector
        )
        return found

    def has_focus(self, selector: str) -> bool:
        found: bool = self.run("return document.activeElement.matches(arguments[0])", selector)
        return found

    def check(self) -> None:
        """Raise unless the console is empty and nobody but the server was asked for anything."""
        said = self.browser.said()
        assert [line for line in said if not any(word in line for word in self.tolerated)] == []
        asked = self.browser.asked_for()
        own = (self.server.address, "data:", "blob:", "about:")
        assert [address for address in asked if not address.startswith(own)] == []
        assert self.server.address in asked
