"""Loading for asyncio: in a thread, so that the loop never waits for it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.session.load import load
from edgeproxy.session.session import Session

Arguments = ParamSpec("Arguments")


class _Either:
    """A `Cancel`: of a task, or of whoever asked."""

    def __init__(self, other: Cancel | None) -> None:
        self.flag = Flag()
        self._other = other

    def is_set(self) -> bool:
        return self.flag.is_set() or (self._other is not None and self._other.is_set())


def _in_thread(
    function: Callable[Arguments, Session],
) -> Callable[Arguments, Coroutine[Any, Any, Session]]:
    """`function`, which loads, for asyncio; cancelling the task sets its `cancel`."""

    @functools.wraps(function)
    async def loaded(*arguments: Arguments.args, **options: Arguments.kwargs) -> Session:
        given: dict[str, Any] = {**options}
        cancel = _Either(given.pop("cancel", None))
        load_now: Callable[..., Session] = function
        work = functools.partial(load_now, *arguments, **given, cancel=cancel)
        loading = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            cancel.flag.set()
            loading.add_done_callback(_close_late)
            raise

    return loaded


def _close_late(loading: asyncio.Future[Session]) -> None:
    # Nobody gets what was loaded just before it heard of the cancel.
    if not loading.cancelled() and loading.exception() is None:
        threading.Thread(target=loading.result().close, daemon=True).start()


load_async = _in_thread(load)
