"""An engine over sessions that say what a test tells them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from edgeproxy.prompts.formats import Message
from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.settings import Settings
from edgeproxy.serve.wanted import Wanted
from tests.helpers.clients import DEADLINE, Client, until
from tests.helpers.told_sessions import RECIPE, Told, ToldLoad


def wanted(text: str, who: str = "", **how: Any) -> Wanted:
    """A reply to this text."""
    return Wanted((Message("user", text),), who=who, **how)


class Bench:
    """An engine, and what its sessions are told."""

    def __init__(self, settings: Settings, *errors: Exception) -> None:
        self.told = Told()
        self.load = ToldLoad(self.told, errors)
        self.engine = SharedEngine(self.load, RECIPE, settings, n_ctx=50)

    def ask(self, text: str, who: str = "", **how: Any) -> Client:
        return Client(self.engine, wanted(text, who, **how))

    async def answered(self, text: str) -> str:
        """A whole request, which shows that the engine is free."""
        self.told.answer(text, f"to {text}")
        client = self.ask(text)
        await client.ended()
        return client.text

    async def begun(self, text: str) -> Client:
        """A request that is being answered."""
        client = self.ask(text)
        await until(lambda: text in self.told.begun)
        return client

    @property
    def outcomes(self) -> dict[str, int]:
        return {name: count for name, count in self.engine.counts.requests.items() if count}


@asynccontextmanager
async def bench(*errors: Exception, **settings: Any) -> AsyncIterator[Bench]:
    """An engine, which is closed, and all its sessions; the first loadings raise `errors`."""
    found = Bench(Settings(**settings), *errors)
    try:
        yield found
    finally:
        for event in (found.load.may_load, found.load.may_solo, found.told.counting):
            event.set()
        await found.engine.close(0.0)
        assert all(files.is_closed for files in found.load.files)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test, which leaves no thread."""
    before = set(threading.enumerate())
    asyncio.run(work())
    for thread in _begun_since(before):
        thread.join(DEADLINE)
    assert not _begun_since(before)


def _begun_since(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads that are not among `before`, but for the one of tokenizing, which lasts."""
    now = set(threading.enumerate()) - before
    return [thread for thread in now if thread.name != "edgeproxy-tokenize"]
