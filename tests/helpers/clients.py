"""A client of an engine, and waiting for what must come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from edgeproxy.serve.events import Ended, Engine, Event, Queued, Said
from edgeproxy.serve.wanted import Wanted

DEADLINE = 60.0
"""Nothing that is waited for takes so long, unless it never comes."""


class Client:
    """Takes the events of one request, in a task."""

    def __init__(self, engine: Engine, request: Wanted) -> None:
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._take(engine.ask(request)))

    async def _take(self, events: AsyncGenerator[Event, None]) -> None:
        async with contextlib.aclosing(events):
            async for event in events:
                self.events.append(event)

    @property
    def text(self) -> str:
        """What was said until now."""
        return "".join(event.piece.text for event in self.events if isinstance(event, Said))

    @property
    def places(self) -> list[int]:
        """The places in the queue that it was told."""
        return [event.before for event in self.events if isinstance(event, Queued)]

    async def ended(self) -> Ended:
        """Its last event, once it has come."""
        await asyncio.wait_for(self.task, DEADLINE)
        last = self.events[-1]
        assert isinstance(last, Ended)
        assert sum(isinstance(event, Ended) for event in self.events) == 1
        return last

    async def failed(self) -> BaseException:
        """The error that it ends with."""
        await asyncio.wait([self.task], timeout=DEADLINE)
        error = self.task.exception()
        assert error is not None
        assert not any(isinstance(event, Ended) for event in self.events)
        return error

    async def leave(self) -> None:
        """Leave in the middle."""
        self.task.cancel()
        await asyncio.wait([self.task], timeout=DEADLINE)
        assert self.task.cancelled()


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""

    async def wait() -> None:
        while not holds():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), DEADLINE)
