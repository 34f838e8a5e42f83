"""What is asked for besides replies, and answered at once with JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from edgeproxy.serve.http.asgi import send_json
from edgeproxy.serve.http.body import read_json
from edgeproxy.serve.http.limits import Limits

NAME = "id"
"""Of a path the part that says which one is meant."""

Call = Callable[[Mapping[str, Any], str], Awaitable[Any]]
"""Answers a request: its body, empty but for POST, and the `id` in its path, "" where none is."""


class Called:
    """What serves one path: a call for each method."""

    def __init__(self, calls: Mapping[str, Call], limits: Limits) -> None:
        self._calls = calls
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it. Raises `RefusedError`, and as the call does."""
        method = scope["method"]
        body = await read_json(receive, self._limits) if method == "POST" else {}
        call = self._calls["GET" if method == "HEAD" else method]
        name: str = scope["path_params"].get(NAME, "")
        await send_json(send, 200, await call(body, name))
