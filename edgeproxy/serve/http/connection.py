"""A connection of uvicorn's, with time for heads, room for connections, and no end of patience.

uvicorn has no limit on the time in which a head comes, nor on that in which an answer is taken,
does not hear of a client that leaves after it has sent a next request, and reports a damaged
request in words of its own.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from edgeproxy.serve.http.limits import LIMITS, Limits

_CAN_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)

_MOST_AHEAD = 1 << 16
"""Bytes of a next request that are read while one is answered."""


class Connection(H11Protocol):
    """One connection; `limits` are those of its class."""

    limits: Limits = LIMITS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "there are too many connections; ask again later", "too_many")
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that has begun has to come to its end."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._time_head()
        # For a next request uvicorn reads no more, and would not hear that the client leaves.
        if self.conn.their_state is h11.DONE and len(self.conn.trailing_data[0]) <= _MOST_AHEAD:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Go on with the next request, of which a part may have come."""
        super().on_response_complete()
        self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be done with it."""
        self._head = _stopped(self._head)
        self._stuck = _stopped(self._stuck)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait until the client takes what it was sent, and no longer than is allowed."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(self.limits.stuck_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._stuck = _stopped(self._stuck)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say that a request is damaged, as all errors are said, and end the connection."""
        self._refuse(400, "this is no request of HTTP", "bad_request")

    def _time_head(self) -> None:
        """Have a head that has begun, and no other, come to its end in time."""
        is_awaited = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not is_awaited or self.transport.is_closing():
            self._head = _stopped(self._head)
        elif self._head is None:
            self._await_head()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.limits.head_seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._head = None
        seconds = self.limits.head_seconds
        self._refuse(408, f"the head did not come within {seconds:g} seconds", "head_too_slow")

    def _refuse(self, status: int, what: str, code: str) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state not in _CAN_ANSWER:
            self.transport.abort()  # in the middle of an answer
            return
        error = {"message": what, "type": "invalid_request_error", "param": None, "code": code}
        body = json.dumps({"error": error}).encode("ascii")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        response = h11.Response(status_code=status, headers=headers, reason=b"")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """What stands in the place of a timer, which is stopped if there is one: none."""
    if timer is not None:
        timer.cancel()
    return None


def connection_within(limits: Limits) -> type[Connection]:
    """A class of connections with these limits, as uvicorn takes one."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
