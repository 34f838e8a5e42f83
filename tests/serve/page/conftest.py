"""Fixtures of the page's tests: a server that answers from a table, and its page in a Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.browsing import Browser
from tests.helpers.page_replies import REPLIES
from tests.helpers.page_server import PageServer, page_server
from tests.helpers.talking_page import TalkingPage


@pytest.fixture
def server() -> Iterator[PageServer]:
    """A server of its own for each test: another port is another store in the browser."""
    with page_server(dict(REPLIES)) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, server: PageServer) -> Iterator[TalkingPage]:
    found = TalkingPage(chromium, server)
    yield found
    found.check()
