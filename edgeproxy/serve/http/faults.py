"""Whatever goes wrong with a request becomes an answer, and a line of the log where it is ours."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproxy.errors import BusyError, ClosingError
from edgeproxy.serve.http.asgi import GoneError, send_json
from edgeproxy.serve.protocol import RefusedError

log = logging.getLogger("edgeproxy.serve")

REQUEST = "edgeproxy.request"
"""Where an ASGI scope has the id of the request."""

_ID_BYTES = 8
_SERVERS = 500
_ORDINARY = (RefusedError, BusyError, ClosingError)
"""What is told with such a status, and nothing is wrong."""


class Answered(Protocol):
    """What a request gets in place of an answer."""

    @property
    def status(self) -> int:
        """That of HTTP."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Besides those that every answer has."""

    @property
    def body(self) -> dict[str, Any]:
        """JSON that says what went wrong."""

    @property
    def is_foreseen(self) -> bool:
        """Whether it is no fault of this package's."""


Answer = Callable[[BaseException], Answered]
"""What a request gets where this error ended it."""


class Faults:
    """Nothing that is raised below gets past it; a client that has left gets nothing.

    Every answer has an id, which the log has beside what went wrong.
    """

    def __init__(self, app: ASGIApp, answer: Answer) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it."""
        if scope["type"] != "http":
            return
        name = scope[REQUEST] = secrets.token_hex(_ID_BYTES)
        has_begun = False

        async def send_named(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except GoneError:
            return
        except Exception as error:  # noqa: BLE001 - one request's fault ends no other
            answered = self._answer(error)
            note(name, error, answered)
            if not has_begun:
                await send_json(send_named, answered.status, answered.body, answered.headers)


def note(request: str, error: BaseException, answered: Answered) -> None:
    """Write a line of the log about what is wrong with the server, and none about a request."""
    if answered.status < _SERVERS or isinstance(error, _ORDINARY):
        return
    if answered.is_foreseen:
        log.error("request %s: %s", request, error)
        return
    log.error("request %s: a bug in edgeproxy: %s: %s", request, type(error).__name__, error)
    log.debug("request %s", request, exc_info=error)
