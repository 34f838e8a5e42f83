"""Loading for asyncio: in a thread, so that the loop never waits for it."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.session.load import load
from edgeproxy.session.session import Session


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
