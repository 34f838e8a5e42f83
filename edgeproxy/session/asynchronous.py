"""Replies for asyncio: a thread reads the turn, so that the loop never waits for a model."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from edgeproxy.core.cancel import Flag
from edgeproxy.decode.pieces import Piece

_AHEAD = 4
"""So many pieces a thread makes before they are taken."""


class Reply(Protocol):
    """What is read: a `Turn`."""

    def __iter__(self) -> Iterator[Piece]: ...

    def cancel(self) -> None: ...  # noqa: D102 - as Turn's

    def close(self) -> None: ...  # noqa: D102 - as Turn's


async def pieces_of(turn: Reply) -> AsyncIterator[Piece]:
    """The pieces of `turn`, which a thread of its own reads.

    Whoever stops asking, or is cancelled, cancels the turn, and goes on when it has ended. Raises
    as reading the turn does.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue()
    allowed = threading.Semaphore(_AHEAD)
    is_left, ended = Flag(), asyncio.Event()

    def tell(what: Piece | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(came.put_nowait, what)

    def read() -> None:
        try:
            for piece in turn:
                tell(piece)
                allowed.acquire()
                if is_left.is_set():
                    break
            tell(None)
        except BaseException as error:  # noqa: BLE001 - raised in the task
            tell(error)
        finally:
            turn.close()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, name="edgeproxy reply", daemon=True).start()
    try:
        while (what := await came.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            yield what
            allowed.release()
    finally:
        if not ended.is_set():
            is_left.set()
            turn.cancel()
            allowed.release()
            await ended.wait()
