"""A request's body -> one JSON object, read strictly.

JSON has no NaN, and of a name that comes twice nobody knows which value counts
(https://www.rfc-editor.org/rfc/rfc8259).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproxy.serve.http.asgi import GoneError, headers_of
from edgeproxy.serve.http.guards import too_large
from edgeproxy.serve.http.limits import Limits
from edgeproxy.serve.protocol import RefusedError

_LONGEST_NUMBER = 40
"""Digits: Python takes quadratic time for more of a whole number."""

_LARGE = 64 << 10
"""A body of more bytes is read in a thread, so that others are answered meanwhile."""

_TOLD = 40
_DISCARD_BYTES, _DISCARD_SECONDS = 64 << 20, 2.0


async def read_json(receive: Receive, limits: Limits) -> dict[str, Any]:
    """The object that a body is. Raises `RefusedError`, and `GoneError`."""
    data = await read_body(receive, limits)
    if len(data) > _LARGE:
        return await asyncio.to_thread(parse, data, limits.depth)
    return parse(data, limits.depth)


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """All of a body, within its time. Raises as `read_json` does."""
    try:
        return await asyncio.wait_for(_read(receive, limits), limits.body_seconds)
    except asyncio.TimeoutError:
        what = f"the body did not come within {limits.body_seconds:g} seconds"
        raise RefusedError(what, None, "body_too_slow", 408) from None


async def _read(receive: Receive, limits: Limits) -> bytes:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        data += message.get("body", b"")
        if len(data) > limits.body:
            raise too_large(limits)
        if not message.get("more_body", False):
            return bytes(data)


def parse(data: bytes, depth: int) -> dict[str, Any]:
    """The object in JSON text, nested at most `depth` deep. Raises `RefusedError`."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_number,
            parse_constant=_constant,
        )
    except UnicodeDecodeError:
        raise _bad("the body is not UTF-8") from None
    except RecursionError:
        raise _too_deep(depth) from None
    except json.JSONDecodeError as error:
        what = f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise _bad(what) from None
    if not isinstance(value, dict):
        raise _bad("the body is JSON, but no object")
    _check(value, depth)
    return value


def _check(value: Any, allowed: int) -> None:
    """Refuse what is nested too deep, and text that is none: half of a surrogate pair."""
    depth = allowed
    level: list[Any] = [value]
    while level:
        inner: list[Any] = []
        has_more = False
        for each in level:
            if isinstance(each, dict):
                has_more = True
                inner.extend(each)
                inner.extend(each.values())
            elif isinstance(each, list):
                has_more = True
                inner.extend(each)
            elif isinstance(each, str):
                _check_text(each)
        depth -= has_more
        if depth < 0:
            raise _too_deep(allowed)
        level = inner


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad("the body has half of a surrogate pair, which is no character") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _bad(f"the name {_shown(twice)} comes twice in an object")
    return found


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise _bad(f"a number has too many digits: {text[:_TOLD]}...")
    return int(text)


def _number(text: str) -> float:
    value = float(text) if len(text) <= 10 * _LONGEST_NUMBER else math.inf
    if not math.isfinite(value):
        raise _bad(f"a number is too large or too long: {text[:_TOLD]}")
    return value


def _constant(text: str) -> NoReturn:
    raise _bad(f"{text} is no number in JSON")


def _shown(name: str) -> str:
    return ascii(name[:_TOLD])


def _too_deep(depth: int) -> RefusedError:
    return _bad(f"the body is nested more than {depth} deep")


def _bad(what: str) -> RefusedError:
    return RefusedError(what, None, "bad_body")


class Bodies:
    """Before a request is answered whose body nobody has read, that is read and thrown away.

    Otherwise the client would still be sending, and would find the connection closed in place of
    the answer. What is too much, or does not come, ends the connection after the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it."""
        lengths = headers_of(scope, b"content-length")
        is_read = not headers_of(scope, b"transfer-encoding") and lengths in ([], [b"0"])
        waits = bool(headers_of(scope, b"expect"))
        # Where a body has two lengths nobody knows where it ends.
        is_doubtful = bool(lengths and headers_of(scope, b"transfer-encoding"))

        async def receive_watched() -> Message:
            nonlocal is_read
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                is_read = True
            return message

        async def discard() -> None:
            left = _DISCARD_BYTES
            while not is_read and left > 0:
                left -= len((await receive_watched()).get("body", b""))

        async def send_after(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                if not waits and not is_doubtful:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(discard(), _DISCARD_SECONDS)
                if not is_read:
                    MutableHeaders(scope=message)["connection"] = "close"
            if message["type"] == "http.response.start" and is_doubtful:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive_watched, send_after)
