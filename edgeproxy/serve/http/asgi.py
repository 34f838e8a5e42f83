"""Headers and answers, as ASGI has them (https://asgi.readthedocs.io)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Scope, Send

JSON = b"application/json"


class GoneError(Exception):
    """The client has left; nobody hears an answer."""


def headers_of(scope: Scope, name: bytes) -> list[bytes]:
    """The values of every header of this name, which is in small letters."""
    return [value for key, value in scope["headers"] if key == name]


def as_json(value: object) -> bytes:
    """JSON in UTF-8, on one line. Raises `ValueError` for NaN and infinity.

    Half a surrogate pair is written as JSON's escape of it.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


async def send_bytes(
    send: Send, status: int, kind: bytes, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Send one whole answer; `kind` is its content type."""
    given = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    given += [(k.lower().encode("ascii"), v.encode("latin-1")) for k, v in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})


async def send_json(
    send: Send, status: int, value: Any, headers: Mapping[str, str] | None = None
) -> None:
    """Send one whole answer of JSON. Raises `ValueError` as `as_json` does."""
    await send_bytes(send, status, JSON, as_json(value), headers)
