"""Work in threads, whose outcome an event loop hears of."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from edgeproxy.errors import EngineError

Found = TypeVar("Found")

_NO_THREAD = (
    "the system lets this process start no more threads; end others, or raise its limit of them"
)


def in_thread(work: Callable[[], Found], name: str) -> asyncio.Future[Found]:
    """What `work` returns or raises, in a thread of its own with this name.

    The thread goes on whatever becomes of the future, and does not keep the process from ending.
    Where the system starts none, the future raises `EngineError`.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()
    future.add_done_callback(_look)

    def tell(how: Callable[[Any], None], what: Any) -> None:
        if not future.done():
            how(what)

    def run() -> None:
        how: Callable[[Any], None] = future.set_result
        what: Any
        try:
            what = work()
        except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
            how, what = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(tell, how, what)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        future.set_exception(EngineError(_NO_THREAD))
    return future


def _look(future: asyncio.Future[Any]) -> None:
    # Else asyncio complains where nobody awaits it any more.
    if not future.cancelled():
        future.exception()
