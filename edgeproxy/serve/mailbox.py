"""Events of one request, from whichever thread they come to the one coroutine that takes them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable

from edgeproxy.errors import TooSlowError
from edgeproxy.serve.events import Event, Loading, Queued, Reading

_LATEST = (Queued, Loading, Reading)
"""Events of which only the latest matters."""

_LOOK_SECONDS = 1.0
"""How often a thread that waits for room looks whether the event loop is still there."""


class Mailbox:
    """Holds what a client has not taken yet: `room` events and hardly more.

    A client that takes nothing for `patience` seconds while there is something to take loses it,
    gets `TooSlowError`, and `lost` hears of that. Made in the event loop in which it is read.
    """

    def __init__(self, room: int, patience: float, lost: Callable[[TooSlowError], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = room
        self._patience = patience
        self._lost = lost
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._is_over = self._is_closed = self._is_calling = False
        self._error: BaseException | None = None
        self._ready = asyncio.Event()
        self._is_waiting = False
        self._behind_since = 0.0
        self._looking: asyncio.TimerHandle | None = None

    # From any thread

    def put(self, event: Event) -> None:
        """Add an event; nothing once it has ended or was closed. Never waits."""
        with self._changed:
            if self._is_over or self._is_closed:
                return
            if not self._events:
                self._behind_since = self._loop.time()
            if isinstance(event, _LATEST):
                self._replace(event)
            else:
                self._events.append(event)
            self._call()

    def end(self, error: BaseException | None = None) -> None:
        """Let nothing follow but this error. A second call does nothing."""
        with self._changed:
            if not self._is_over:
                self._is_over, self._error = True, error
                self._call()

    def wait_for_room(self) -> bool:
        """Wait, in a thread, until there is room for an event; False where nobody takes any."""
        with self._changed:
            while not (self._is_closed or self._is_over):
                if len(self._events) < self._room:
                    return True
                self._changed.wait(_LOOK_SECONDS)
                if self._loop.is_closed():
                    break
        return False

    # In the event loop

    async def take(self) -> Event | None:
        """The next event, None after the last one. Raises the error that has ended it."""
        while True:
            with self._changed:
                if self._events:
                    self._behind_since = self._loop.time()
                    self._changed.notify_all()
                    event = self._events.popleft()
                    self._watch()
                    return event
                if self._error is not None:
                    raise self._error
                if self._is_over:
                    return None
                self._ready.clear()
            self._is_waiting = True
            try:
                await self._ready.wait()
            finally:
                self._is_waiting = False

    def close(self) -> None:
        """Take no more: what is here is dropped. A second call does nothing."""
        with self._changed:
            self._is_closed = True
            self._events.clear()
            self._changed.notify_all()
        self._lost = _forgotten  # the request holds this, and must not be held by it
        if self._looking is not None:
            self._looking.cancel()

    def _replace(self, event: Event) -> None:
        """Add an event in the place of another of its kind that nobody has taken."""
        for held in self._events:
            if type(held) is type(event):
                self._events.remove(held)
                break
        self._events.append(event)

    def _call(self) -> None:
        # Once for all that has come until the loop hears of it.
        if not self._is_calling:
            self._is_calling = True
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        with self._changed:
            self._is_calling = False
            if not self._is_waiting:
                self._watch()
        self._ready.set()

    def _watch(self) -> None:
        if self._events and self._looking is None and not self._is_closed:
            self._looking = self._loop.call_later(self._patience, self._look)

    def _look(self) -> None:
        """See whether the client has taken anything of late."""
        self._looking = None
        left = self._behind_since + self._patience - self._loop.time()
        with self._changed:
            if not self._events or self._is_closed or self._is_waiting:
                return
            if left > 0.0:
                self._looking = self._loop.call_later(left, self._look)
                return
            error = TooSlowError(
                f"nothing of the reply was taken for {self._patience:g} seconds, so it was "
                "dropped; read replies as they come, or ask for shorter ones"
            )
            self._events.clear()
            self._is_over, self._error = True, error
            self._changed.notify_all()
        self._ready.set()
        self._lost(error)


def _forgotten(_error: TooSlowError) -> None:
    """Nobody hears of what a closed mailbox loses."""
