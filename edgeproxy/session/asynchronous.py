"""Loading and replies for asyncio: the work is done in a thread, so that the loop never waits.

It is the same turn and the same session, isolated or not; nothing is written twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeproxy.core.cancel import Cancel, Flag

if TYPE_CHECKING:
    from edgeproxy.decode.pieces import Piece
    from edgeproxy.session.session import Session
    from edgeproxy.session.turn import Turn

_AHEAD = 4
"""So many pieces a thread makes before they are taken."""


class _Either:
    """A `Cancel`: of a task, or of whoever asked."""

    def __init__(self, other: Cancel | None) -> None:
        self.flag = Flag()
        self._other = other

    def is_set(self) -> bool:
        return self.flag.is_set() or (self._other is not None and self._other.is_set())


async def load_async(*arguments: Any, cancel: Cancel | None = None, **options: Any) -> Session:
    """`edgeproxy.load` with these arguments, in a thread; cancelling the task stops the loading.

    Raises as `load` does.
    """
    from edgeproxy.session.load import load

    either = _Either(cancel)
    work = partial(load, *arguments, cancel=either, **options)
    loading = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        either.flag.set()
        loading.add_done_callback(_close_late)
        raise


def _close_late(loading: asyncio.Future[Session]) -> None:
    # Nobody gets what was loaded just before it heard of the cancel.
    if not loading.cancelled() and loading.exception() is None:
        threading.Thread(target=loading.result().close, daemon=True).start()


async def pieces_of(turn: Turn) -> AsyncIterator[Piece]:
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
