"""An application is served until it is told to end, and then within some seconds."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.types import ASGIApp

from edgeproxy.serve.http.connection import connection_within
from edgeproxy.serve.http.limits import LIMITS, Limits

GRACE_SECONDS = 3.0
"""So long what is under way may go on after the end was asked for."""

_LAST_SECONDS = 4
"""After these, from the end that was asked for, connections are cut off."""


class Running(uvicorn.Server):
    """A server of an application on sockets that listen already.

    `close` ends what the application stands on; it is given the seconds that replies under way may
    have. Whoever runs it hears signals, and calls `stop`.
    """

    def __init__(
        self,
        app: ASGIApp,
        close: Callable[[float], Awaitable[None]],
        limits: Limits = LIMITS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        quiet()
        super().__init__(
            uvicorn.Config(
                app,
                http=connection_within(limits),
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=limits.head,
                timeout_keep_alive=limits.idle_seconds,
                timeout_graceful_shutdown=_LAST_SECONDS,
            )
        )
        self._close = close
        self._grace = grace

    async def run_on(self, listening: socket.socket) -> None:
        """Serve until `stop`. It listens when `started` is true."""
        await self._serve([listening])

    def stop(self) -> None:
        """Ask it to end. From any thread, and from a handler of signals."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, let those under way end, and close what they stand on."""
        closing = asyncio.ensure_future(self._close(self._grace))
        await super().shutdown(sockets)
        await closing
        # A client that takes nothing keeps a connection from closing; the loop must not end so.
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def quiet() -> None:
    """uvicorn's own log goes nowhere: what matters is said in this package's."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
