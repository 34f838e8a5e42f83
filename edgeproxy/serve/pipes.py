"""Lines over pipes: those that come, and JSON that goes, neither of them piled up.

One thread reads and one writes, since no event loop waits for a pipe on Windows. Nothing waits for
the threads at the end: they may be in the middle of reading or writing, and end with the process.

May touch: the descriptors that it is given; `take_standard_streams` those of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, NamedTuple

from edgeproxy.errors import UsageError

LONGEST_LINE = 8 << 20
"""Bytes of a line that is taken; of a longer one nothing is kept."""

MOST_AHEAD = 1 << 20
"""Bytes that are read before somebody takes them."""

MOST_UNSENT = 1 << 16
"""Bytes that wait to be written; whoever has more to say waits."""

PATIENCE_SECONDS = 0.3
"""Once its input has ended, a host that takes nothing for so long takes no more."""

_BLOCK = 1 << 16
_OVERHEAD = 128
"""Bytes that a short block takes in memory besides its own."""


class GoneError(Exception):
    """Nobody reads what is written."""


class Pipes(NamedTuple):
    """The descriptors that lines come from, and go to."""

    coming: int
    going: int


def take_standard_streams() -> Pipes:
    """The standard streams under other numbers, which nothing else reads from or writes to.

    What is printed from now on, by native code too, goes to standard error. Raises `UsageError`
    where a stream is closed.
    """
    if sys.__stdin__ is None or sys.__stdout__ is None:  # their numbers may be something else's
        raise UsageError(
            "standard input or output is closed; --stdio needs both: start it with pipes"
        )
    pipes = Pipes(os.dup(0), os.dup(1))
    if sys.platform != "win32":
        for each in pipes:
            os.set_blocking(each, True)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing if sys.__stderr__ is None else 2, 1)
    os.close(nothing)
    return pipes


class Coming:
    """The lines of a descriptor, to its end. Made in the loop, which calls `at_end` at the end."""

    def __init__(
        self, descriptor: int, at_end: Callable[[], None], longest: int = LONGEST_LINE
    ) -> None:
        self._longest = longest
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._blocks: deque[bytes] = deque()
        self._ahead = 0
        self._has_room = threading.Condition()
        threading.Thread(
            target=self._read, args=(descriptor,), name="edgeproxy input", daemon=True
        ).start()

    async def lines(self) -> AsyncGenerator[tuple[int, bytes | None], None]:
        """Each line with its number from 1, without its end; None for one that is too long.

        Lines of nothing but white space are left out.
        """
        number, held, is_long = 1, bytearray(), False
        async for block in self._taken():
            *parts, rest = block.split(b"\n")
            for part in parts:
                is_long = is_long or len(held) + len(part) > self._longest
                line = None if is_long else bytes(held + part)
                held.clear()
                is_long = False
                if line is None or line.strip():
                    yield number, line
                number += 1
            is_long = is_long or len(held) + len(rest) > self._longest
            if is_long:
                held.clear()
            else:
                held += rest
        if is_long or held.strip():
            yield number, None if is_long else bytes(held)

    async def _taken(self) -> AsyncGenerator[bytes, None]:
        while True:
            while not self._blocks:
                self._came.clear()
                await self._came.wait()
            block = self._blocks.popleft()
            if not block:
                return
            with self._has_room:
                self._ahead -= len(block) + _OVERHEAD
                self._has_room.notify()
            yield block

    def _read(self, descriptor: int) -> None:
        while block := _read_block(descriptor):
            with self._has_room:
                self._has_room.wait_for(lambda: self._ahead < MOST_AHEAD)
                self._ahead += len(block) + _OVERHEAD
            _call(self._loop, self._take, block)
        _call(self._loop, self._take, b"")

    def _take(self, block: bytes) -> None:
        self._blocks.append(block)
        self._came.set()
        if not block:
            self._at_end()


class Going:
    """JSON that is written into a descriptor, one object a line, in the order of `send`.

    Made in a loop, and called in it. `is_gone` is set when nobody reads any more.
    """

    def __init__(self, descriptor: int) -> None:
        self.is_gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._in_turn = asyncio.Lock()
        self._moved = asyncio.Event()
        self._unsent = 0
        self._times = 0
        """How often something was written."""
        self._look: asyncio.TimerHandle | None = None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(
            target=self._write, args=(descriptor,), name="edgeproxy output", daemon=True
        ).start()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Write `message` when there is room for it, and go on when it will be written.

        Raises `GoneError`, and `ValueError` for what is no JSON, such as a number that is infinite.
        """
        line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
        async with self._in_turn:
            await self._until(MOST_UNSENT)
            self._unsent += len(line)
            self._lines.put(line)

    async def flush(self) -> None:
        """Wait until all is written. Raises `GoneError`."""
        await self._until(1)

    async def close(self) -> None:
        """Write what the host takes within `PATIENCE_SECONDS`, and let the thread end."""
        with contextlib.suppress(GoneError, asyncio.TimeoutError):
            await asyncio.wait_for(self.flush(), PATIENCE_SECONDS)
        self._lines.put(None)

    @property
    def is_hurried(self) -> bool:
        """Whether a host that takes nothing for `PATIENCE_SECONDS` counts as gone."""
        return self._look is not None

    @is_hurried.setter
    def is_hurried(self, is_hurried: bool) -> None:
        if self._look is not None:
            self._look.cancel()
        later = self._loop.call_later
        self._look = later(PATIENCE_SECONDS, self._has_moved, self._times) if is_hurried else None

    def _has_moved(self, times: int) -> None:
        if self._unsent and self._times == times:
            self._leave()
        else:
            self.is_hurried = True

    async def _until(self, unsent: int) -> None:
        while self._unsent >= unsent and not self.is_gone.is_set():
            self._moved.clear()
            await self._moved.wait()
        if self.is_gone.is_set():
            raise GoneError

    def _write(self, descriptor: int) -> None:
        while (data := self._lines.get()) is not None:
            line = memoryview(data)
            while line:
                try:
                    size = os.write(descriptor, line[:_BLOCK])
                except OSError:
                    _call(self._loop, self._leave)
                    return
                line = line[size:]
                _call(self._loop, self._has_written, size)

    def _has_written(self, size: int) -> None:
        self._unsent -= size
        self._times += 1
        self._moved.set()

    def _leave(self) -> None:
        self.is_gone.set()
        self._moved.set()


def _read_block(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _BLOCK)
    except OSError:  # so Windows tells that the other end has gone
        return b""


def _call(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed
        loop.call_soon_threadsafe(what, *arguments)
